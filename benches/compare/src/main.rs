//! `make bench`: sockleak side by side with the tools that people use today, in one run on one
//! machine.
//!
//! ```text
//! main ─┬─> scene: a network namespace, and workloads in processes of their own (plant, churn)
//!       ├─> tool: runs a tool under a small process that takes its time and memory
//!       ├─> start, list, phases, live, table: one file for each kind of measurement
//!       ├─> against: two sockleaks, one against the other
//!       └─> results ──> goals, view: the terminal, target/bench.json, docs/performance.md
//! ```
//!
//! Each workload and each measured tool is a child process. Workloads run this program again, with a
//! hidden subcommand.

mod against;
mod churn;
mod floor;
mod goals;
mod host;
mod list;
mod live;
mod options;
mod parse;
mod phases;
mod plant;
mod results;
mod role;
mod scene;
mod start;
mod summary;
mod table;
mod tool;
mod truth;
mod view;

use anyhow::Result;
use clap::{Parser, Subcommand};

use floor::Statistics;
use options::{Options, Part};
use results::Results;
use scene::Scene;

/// Compares sockleak with the tools that people use today, or with another sockleak.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Role {
    /// Holds sockets in CLOSE_WAIT
    #[command(hide = true)]
    Plant(plant::Args),
    /// Holds both ends of healthy connections
    #[command(hide = true)]
    Healthy(plant::Args),
    /// Holds descriptors that are not sockets
    #[command(hide = true)]
    Crowd(plant::CrowdArgs),
    /// Opens and closes connections at full speed
    #[command(hide = true)]
    Churn(churn::Args),
    /// Runs a command and takes its time and memory
    #[command(hide = true)]
    Measure(tool::Args),
    /// Counts the sockets in CLOSE_WAIT with a BPF iterator
    #[command(hide = true)]
    Count,
    /// Attaches an empty program to the tracepoint
    #[command(hide = true)]
    Nothing(floor::NothingArgs),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Plant(args)) => plant::leaked(&args),
        Some(Role::Healthy(args)) => plant::healthy(&args),
        Some(Role::Crowd(args)) => plant::crowd(&args),
        Some(Role::Churn(args)) => churn::churn(&args),
        Some(Role::Measure(args)) => tool::measure(&args),
        Some(Role::Count) => floor::count(),
        Some(Role::Nothing(args)) => floor::nothing(&args),
        None => compare(&cli.options),
    }
}

fn compare(options: &Options) -> Result<()> {
    let mut results = Results::new(host::describe(options)?);
    let scene = Scene::enter()?;
    // They slow down every program.
    let _statistics = Statistics::keep(false)?;
    match &options.against {
        Some(other) => results.against = against::run(&scene, options, other)?,
        None => measure(&scene, options, &mut results)?,
    }
    view::publish(&results, options)
}

fn measure(scene: &Scene, options: &Options, results: &mut Results) -> Result<()> {
    if options.wants(Part::Start) {
        results.start = start::run(options)?;
    }
    if options.wants(Part::Small) {
        (results.small, results.phases) = list::small_host(scene, options)?;
    }
    if options.wants(Part::List) {
        results.list = list::leaked(scene, options)?;
    }
    if options.wants(Part::Healthy) {
        results.healthy = list::beside_healthy(scene, options)?;
    }
    if options.wants(Part::Churn) {
        results.churn = live::churn(options)?;
    }
    if options.wants(Part::Standing) {
        results.standing = live::standing(scene, options)?;
    }
    if options.wants(Part::Load) {
        results.load = live::load(scene, options)?;
    }
    if options.wants(Part::Export) {
        results.export = live::export(scene, options)?;
    }
    if options.wants(Part::Table) {
        results.table = table::read(options)?;
    }
    results.goals = goals::compare(results);
    Ok(())
}
