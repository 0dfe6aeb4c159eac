//! `make bench`: sockleak side by side with what people use today, in one run on one machine.
//!
//! ```text
//! main ─┬─> scene: a network namespace, and workloads in processes of their own (plant, churn)
//!       ├─> tool:  a tool, run under a small process that takes its time and memory
//!       ├─> list, live, start, table: what is measured, one file for each of the issue's tables
//!       └─> results ──> goals ──> view: the terminal, target/bench.json, docs/performance.md
//! ```
//!
//! Each workload and each measured tool is a child; the first kind is this program again, with a
//! hidden subcommand.

mod churn;
mod floor;
mod goals;
mod host;
mod list;
mod live;
mod parse;
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

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Compares sockleak with what people use today.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

/// What to measure, and where the results go.
#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/release/sockleak")]
    sockleak: PathBuf,
    /// Five minutes instead of half an hour: for trying out, not for publishing
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where `cargo bench --bench table` has left its results
    #[arg(long, default_value = "target/criterion")]
    criterion: PathBuf,
    /// Where the figures go
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Where the page goes; by default nowhere, so that a trial run does not overwrite it
    #[arg(long)]
    page: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    List,
    Churn,
    Standing,
    Load,
    Start,
    Table,
}

#[derive(Subcommand)]
enum Role {
    /// Holds sockets in CLOSE_WAIT
    #[command(hide = true)]
    Plant(plant::Args),
    /// Holds other descriptors
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
    /// Attaches a program that does nothing to the tracepoint
    #[command(hide = true)]
    Nothing(floor::NothingArgs),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Plant(args)) => plant::plant(&args),
        Some(Role::Crowd(args)) => plant::crowd(&args),
        Some(Role::Churn(args)) => churn::churn(&args),
        Some(Role::Measure(args)) => tool::measure(&args),
        Some(Role::Count) => floor::count(),
        Some(Role::Nothing(args)) => floor::nothing(&args),
        None => compare(&cli.options),
    }
}

fn compare(options: &Options) -> Result<()> {
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let scene = scene::Scene::enter()?;
    let mut results = results::Results::new(host::describe(options)?);
    if wanted(Part::Start) {
        results.start = start::run(options)?;
    }
    if wanted(Part::List) {
        results.list = list::run(&scene, options)?;
    }
    if wanted(Part::Churn) {
        results.churn = live::churn(options)?;
    }
    if wanted(Part::Standing) {
        results.standing = live::standing(&scene, options)?;
    }
    if wanted(Part::Load) {
        results.load = live::load(&scene, options)?;
    }
    if wanted(Part::Table) {
        results.table = table::read(options)?;
    }
    results.finish();
    view::publish(&results, options)
}
