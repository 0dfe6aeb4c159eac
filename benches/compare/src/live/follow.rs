//! Measures how much a tool that follows transitions slows down connections at full speed.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::churn::{Churn, Window};
use crate::floor::{RunStats, Statistics, program_ids};
use crate::options::Options;
use crate::parse;
use crate::results::ChurnRow;
use crate::summary::Summary;
use crate::tool::{Tool, complaint};

pub(crate) const WATCH: &str = "sockleak watch --json";
pub(crate) const TCPSTATES: &str = "tcpstates";
/// Time of one measurement: an interval of `watch`, so that each has one refresh in it. The churn
/// changes its pace by itself: only measurements that follow each other closely can be compared, and
/// there have to be many.
const WINDOW: Duration = Duration::from_secs(1);
/// Time between a tool's end and the next measurement.
const SETTLING: Duration = Duration::from_millis(300);
/// Rounds go on until the standard error of the throughput lost is as low as this, in percent.
const PRECISE: f64 = 0.5;
/// Time for which the kernel keeps statistics of a tool's programs.
const STATISTICS: Duration = Duration::from_secs(2);
/// Runs nothing in its turn: its loss is the error of the method.
const NO_TOOL: &str = "no tool";
/// The least cost of a tool with one program.
const NOTHING: &str = "an empty program";
/// The least cost of a tool with two programs, as sockleak has.
pub(crate) const NOTHING_TWICE: &str = "two empty programs";

/// The blog post's idea: socket and thread ID of each socket that enters CLOSE_WAIT, until it leaves.
/// It is on the tracepoint, whose interface is stable; that of the function in the post is not.
const SCRIPT: &str = "
tracepoint:sock:inet_sock_set_state
{
  if (args->newstate == 8) { @close_wait[args->skaddr] = tid; }
  if (args->oldstate == 8) { delete(@close_wait[args->skaddr]); }
}
interval:s:1 { print(@close_wait); }
";

/// A tool that follows transitions.
struct Follower {
    name: String,
    /// 1 for a turn in every round, 2 for one in every other, and so on.
    every: usize,
    /// Empty for no tool.
    command: Vec<String>,
    /// It may die: bpftrace does when a map changes while it prints it.
    is_peer: bool,
}

/// Number of rounds.
#[derive(Clone, Copy)]
struct Rounds {
    least: usize,
    /// Limit, where the results are not precise before.
    most: usize,
    /// Further ones, with the kernel's statistics.
    statistics: usize,
}

#[derive(Default)]
struct Readings {
    refused: Option<String>,
    deaths: Vec<String>,
    rate: Vec<f64>,
    lost: Vec<f64>,
    added: Vec<f64>,
    cpu: Vec<f64>,
    nanoseconds: Vec<f64>,
    runs: f64,
    events_lost: Option<u64>,
}

impl Follower {
    fn new(name: &str, every: usize, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            every,
            command: command.iter().map(ToString::to_string).collect(),
            is_peer: matches!(command.first(), Some(&(TCPSTATES | "bpftrace"))),
        }
    }

    fn watch(name: &str, sockleak: &Path) -> Self {
        Self::new(name, 1, &[&sockleak.to_string_lossy(), "watch", "--json"])
    }
}

/// Every tool.
pub(crate) fn churn(options: &Options) -> Result<Vec<ChurnRow>> {
    let rounds = match options.quick {
        true => Rounds { least: 6, most: 6, statistics: 1 },
        false => Rounds { least: 30, most: 100, statistics: 3 },
    };
    let sockleak = options.sockleak.to_string_lossy();
    let this = env::current_exe()?;
    let this = this.to_string_lossy();
    let followers = [
        Follower::new(NO_TOOL, 1, &[]),
        Follower::watch(WATCH, &options.sockleak),
        Follower::new("sockleak events (every state)", 3, &[&sockleak, "events"]),
        Follower::new(TCPSTATES, 3, &[TCPSTATES]),
        Follower::new("the blog post's script (bpftrace)", 3, &["bpftrace", "-e", SCRIPT]),
        Follower::new(NOTHING, 2, &[&this, "nothing"]),
        Follower::new(NOTHING_TWICE, 2, &[&this, "nothing", "--links", "2"]),
    ];
    measure(&followers, rounds)
}

/// `watch` of two sockleaks.
pub(crate) fn against(options: &Options, other: &Path) -> Result<[ChurnRow; 2]> {
    let rounds = match options.quick {
        true => Rounds { least: 6, most: 6, statistics: 1 },
        false => Rounds { least: 20, most: 40, statistics: 5 },
    };
    let followers = [
        Follower::watch(&options.sockleak.to_string_lossy(), &options.sockleak),
        Follower::watch(&other.to_string_lossy(), other),
    ];
    let rows = measure(&followers, rounds)?;
    rows.try_into().map_err(|_| anyhow!("two followers gave another number of rows"))
}

fn measure(followers: &[Follower], rounds: Rounds) -> Result<Vec<ChurnRow>> {
    eprintln!("churn");
    let mut readings: Vec<Readings> = followers.iter().map(|_| Readings::default()).collect();
    let mut churn = Churn::start()?;
    let quiet = |churn: &mut Churn| -> Result<Window> {
        thread::sleep(SETTLING);
        churn.pass(WINDOW)
    };

    let mut before = quiet(&mut churn)?;
    for round in 0..rounds.most {
        let is_further = round >= rounds.least;
        if is_further && are_precise(followers, &readings) {
            break;
        }
        let mut turns: Vec<_> = followers.iter().zip(&mut readings).collect();
        // None always comes after the same.
        if round / 2 % 2 == 1 {
            turns.reverse();
        }
        for (follower, readings) in turns {
            let has_turn = match is_further {
                true => follower.every == 1,
                false => round % follower.every == 0,
            };
            // Once it has run, it may only have been slow to start.
            let is_refused = readings.refused.is_some() && readings.rate.is_empty();
            if is_refused || !has_turn {
                continue;
            }
            let during = beside(follower, &mut churn, readings)?;
            let after = quiet(&mut churn)?;
            if let Some((during, tool_cpu)) = during {
                readings.compare(&before, &during, &after, tool_cpu);
            }
            before = after;
        }
    }
    for _ in 0..rounds.statistics {
        for (follower, readings) in followers.iter().zip(&mut readings) {
            // The kernel counts runs: one program attached twice looks like twice the transitions.
            let has_some = !follower.command.is_empty() && follower.name != NOTHING_TWICE;
            if readings.refused.is_none() && has_some {
                kernel_statistics(follower, readings)?;
            }
        }
    }
    Ok(rows(followers, readings))
}

/// True where the results are precise for all tools that have a turn in every round.
fn are_precise(followers: &[Follower], readings: &[Readings]) -> bool {
    followers.iter().zip(readings).filter(|(follower, _)| follower.every == 1).all(
        |(_, readings)| {
            Summary::of(readings.lost.clone()).is_none_or(|lost| lost.error() <= PRECISE)
        },
    )
}

/// Measures a window beside a running tool, and the CPU seconds that the tool uses in it.
fn beside(
    follower: &Follower,
    churn: &mut Churn,
    readings: &mut Readings,
) -> Result<Option<(Window, f64)>> {
    if follower.command.is_empty() {
        return Ok(Some((churn.pass(WINDOW)?, 0.0)));
    }
    let Some(tool) = started(follower, Path::new("/dev/null"), readings)? else {
        return Ok(None);
    };
    let (during, cpu) = churn.window(|| {
        let before = tool.cpu_seconds();
        thread::sleep(WINDOW);
        Ok(before.and_then(|before| Ok(tool.cpu_seconds()? - before)))
    })?;
    let complaint = complaint(tool.err());
    let cost = tool.stop()?;
    match cpu {
        Ok(cpu) => Ok(Some((during, cpu))),
        Err(_) if follower.is_peer => {
            readings.deaths.push(format!("it has died: {complaint}"));
            Ok(None)
        }
        Err(error) => Err(error.context(format!("{}: {cost:?}: {complaint}", follower.name))),
    }
}

/// Reads how long the tool's programs run for each transition, and the events that it reports lost.
fn kernel_statistics(follower: &Follower, readings: &mut Readings) -> Result<()> {
    let _statistics = Statistics::keep(true)?;
    let out: PathBuf = env::temp_dir().join(format!("compare.{}.out", std::process::id()));
    let Some(tool) = started(follower, &out, readings)? else {
        return Ok(());
    };
    let ids: BTreeSet<u32> = program_ids(tool.pid());
    let before = RunStats::of(&ids);
    thread::sleep(STATISTICS);
    if let Some(of_transition) = RunStats::of(&ids).since(before) {
        readings.nanoseconds.push(of_transition.nanoseconds);
        readings.runs = of_transition.runs;
    }
    let err = tool.err().to_owned();
    tool.stop()?;
    let lost = parse::lost(&String::from_utf8_lossy(&fs::read(&out)?), &fs::read_to_string(err)?);
    *readings.events_lost.get_or_insert(0) += lost;
    Ok(fs::remove_file(out)?)
}

fn started(follower: &Follower, out: &Path, readings: &mut Readings) -> Result<Option<Tool>> {
    let refusal = match Tool::start(&follower.command, out)? {
        Err(error) => error,
        Ok(tool) => match tool.settle()? {
            Ok(()) => return Ok(Some(tool)),
            Err(error) => error,
        },
    };
    readings.refused = Some(refusal);
    Ok(None)
}

impl Readings {
    fn compare(&mut self, before: &Window, during: &Window, after: &Window, tool_cpu: f64) {
        let idle_rate = (before.rate() + after.rate()) / 2.0;
        let per_connection =
            |window: &Window, extra: f64| (window.cpu_seconds + extra) / window.connections as f64;
        let idle_cpu = (per_connection(before, 0.0) + per_connection(after, 0.0)) / 2.0;
        let percent = |part: f64| part * 100.0;
        self.rate.push(during.rate());
        self.lost.push(percent(1.0 - during.rate() / idle_rate));
        self.added.push(percent(per_connection(during, tool_cpu) / idle_cpu - 1.0));
        self.cpu.push(percent(tool_cpu / during.seconds));
    }
}

fn rows(followers: &[Follower], readings: Vec<Readings>) -> Vec<ChurnRow> {
    let runs: Vec<f64> = readings.iter().map(|readings| readings.runs).collect();
    let mut rows: Vec<ChurnRow> = followers
        .iter()
        .zip(readings)
        .map(|(follower, readings)| ChurnRow {
            tool: follower.name.clone(),
            refused: (readings.refused.into_iter().chain(readings.deaths).next())
                .filter(|_| readings.rate.is_empty()),
            connections_per_second: Summary::of(readings.rate),
            throughput_lost_percent: Summary::of(readings.lost),
            cpu_added_percent: Summary::of(readings.added),
            tool_cpu_percent: mean(&readings.cpu),
            ns_per_transition: Summary::of(readings.nanoseconds),
            net_ns_per_transition: None,
            events_lost: readings.events_lost,
        })
        .collect();
    let nanoseconds = |row: &ChurnRow| row.ns_per_transition.as_ref().map(|ns| ns.median);
    let empty = rows.iter().find(|row| row.tool == NOTHING);
    let empty = empty.and_then(nanoseconds);
    for (row, runs) in rows.iter_mut().zip(runs) {
        row.net_ns_per_transition =
            nanoseconds(row).zip(empty).map(|(ns, empty)| ns - runs * empty);
    }
    rows
}

fn mean(readings: &[f64]) -> Option<f64> {
    (!readings.is_empty()).then(|| readings.iter().sum::<f64>() / readings.len() as f64)
}
