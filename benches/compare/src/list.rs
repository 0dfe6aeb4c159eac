//! Measures how long a tool takes to list the leaked sockets with their owners.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::options::Options;
use crate::parse::{self, Parser};
use crate::phases;
use crate::results::{ListRow, TimeRow};
use crate::role::Role;
use crate::scene::{Leaks, Scene};
use crate::summary::Summary;
use crate::tool::{Cost, Tool, complaint};
use crate::truth::Verdict;

/// All others are compared with it.
pub(crate) const SOCKLEAK: &str = "sockleak list";
pub(crate) const COUNTING: &str = "an iterator that only counts";
pub(crate) const SS_OWNERS: &str = "ss -tnp state close-wait";
pub(crate) const SS: &str = "ss -tn state close-wait";

/// Sockets and processes of a small host.
pub(crate) const SMALL: usize = 20;
/// Connections that are in use. Their sockets are twice as many.
pub(crate) const HEALTHY: usize = 100_000;
/// Leaked sockets beside them.
pub(crate) const FEW: usize = 100;

/// A tool that lists sockets.
pub(crate) struct Lister {
    name: &'static str,
    command: Vec<String>,
    /// `None` for a tool that lists nothing.
    parser: Option<Parser>,
    /// Reads every descriptor through /proc.
    slow: bool,
}

/// Results of a tool's runs.
#[derive(Default)]
pub(crate) struct Runs {
    costs: Vec<Cost>,
    verdict: Option<Verdict>,
    refused: Option<String>,
}

/// Number of runs of each tool.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) fast: usize,
    pub(crate) slow: usize,
}

impl Lister {
    fn new(name: &'static str, command: &[&str], parser: Option<Parser>) -> Self {
        let command = command.iter().map(ToString::to_string).collect();
        Self { name, command, parser, slow: false }
    }

    fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    /// `sockleak list`, of this binary.
    pub(crate) fn sockleak(binary: &Path) -> Self {
        Self::new(SOCKLEAK, &[&binary.to_string_lossy(), "list"], Some(parse::sockleak_text))
    }

    fn all(options: &Options) -> Result<Vec<Self>> {
        let sockleak = options.sockleak.to_string_lossy();
        let this = env::current_exe()?;
        let lsof = ["lsof", "-nP", "-iTCP", "-sTCP:CLOSE_WAIT"];
        Ok(vec![
            Self::sockleak(&options.sockleak),
            Self::new(
                "sockleak list --json",
                &[&sockleak, "list", "--json"],
                Some(parse::sockleak_json),
            ),
            Self::new(COUNTING, &[&this.to_string_lossy(), "count"], None),
            Self::new(SS, &["ss", "-tn", "state", "close-wait"], Some(parse::ss)),
            Self::new(SS_OWNERS, &["ss", "-tnp", "state", "close-wait"], Some(parse::ss)).slow(),
            Self::new("lsof -nP -iTCP -sTCP:CLOSE_WAIT", &lsof, Some(parse::lsof)).slow(),
        ])
    }
}

impl Runs {
    /// Wall time of each run.
    pub(crate) fn wall_ms(&self) -> Vec<f64> {
        self.costs.iter().map(|cost| cost.wall_seconds * 1e3).collect()
    }

    fn cpu_ms(&self) -> Vec<f64> {
        self.costs.iter().map(|cost| cost.cpu_seconds() * 1e3).collect()
    }

    /// Rows that are missing or have a wrong owner or none, in the worst run.
    pub(crate) fn errors(&self) -> usize {
        self.verdict.map_or(0, |verdict| verdict.errors())
    }

    /// Why the tool did not run.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

/// Every tool, on a host with few processes and few sockets; and where the time of `list` goes.
pub(crate) fn small_host(scene: &Scene, options: &Options) -> Result<(Vec<ListRow>, Vec<TimeRow>)> {
    let leaks = leak_in_small_host(scene)?;
    let runs = if options.quick { 7 } else { 31 };
    let rows = compare(&leaks, options, Rounds { fast: runs, slow: runs })?;
    Ok((rows, phases::of_list(options)?))
}

/// Every tool, by the number of leaked sockets and of processes that hold them.
pub(crate) fn leaked(scene: &Scene, options: &Options) -> Result<Vec<ListRow>> {
    let _crowd = scene.crowd()?;
    let process_counts: &[usize] = if options.quick { &[1] } else { &[1, 10, 100] };
    let mut rows = Vec::new();
    for sockets in [1_000, 10_000, 100_000] {
        for &processes in process_counts {
            let leaks = scene.leak(sockets, processes)?;
            eprintln!("list: {sockets} sockets in {} processes", leaks.processes);
            let slow = if sockets > 50_000 { 3 } else { 5 };
            let rounds = match options.quick {
                true => Rounds { fast: 3, slow: 1 },
                false => Rounds { fast: 9, slow },
            };
            rows.extend(compare(&leaks, options, rounds)?);
        }
    }
    Ok(rows)
}

/// Every tool, with few leaked sockets beside very many healthy connections.
pub(crate) fn beside_healthy(scene: &Scene, options: &Options) -> Result<Vec<ListRow>> {
    let (_connections, leaks) = leak_beside_healthy(scene)?;
    let rounds = match options.quick {
        true => Rounds { fast: 3, slow: 1 },
        false => Rounds { fast: 9, slow: 3 },
    };
    compare(&leaks, options, rounds)
}

/// Leaks one socket in each of the processes of a small host.
pub(crate) fn leak_in_small_host(scene: &Scene) -> Result<Leaks> {
    eprintln!("list: {SMALL} sockets in {SMALL} processes, and nothing beside them");
    scene.leak(SMALL, SMALL)
}

/// Opens the healthy connections and then leaks a few sockets.
pub(crate) fn leak_beside_healthy(scene: &Scene) -> Result<(Vec<Role>, Leaks)> {
    let connections = scene.connect(HEALTHY)?;
    let leaks = scene.leak(FEW, 1)?;
    eprintln!("list: {FEW} sockets beside {HEALTHY} healthy connections");
    Ok((connections, leaks))
}

/// Runs every tool in turn.
fn compare(leaks: &Leaks, options: &Options, rounds: Rounds) -> Result<Vec<ListRow>> {
    let listers = Lister::all(options)?;
    let runs = measure(leaks, &listers, rounds)?;
    let medians: Vec<_> = runs.iter().map(|runs| Summary::of(runs.wall_ms())).collect();
    let sockleak = medians.first().cloned().flatten();
    let row = |((lister, runs), wall): ((&Lister, Runs), Option<Summary>)| ListRow {
        sockets: leaks.truth.len(),
        processes: leaks.processes,
        tool: lister.name.to_owned(),
        times_sockleak: wall
            .as_ref()
            .zip(sockleak.as_ref())
            .map(|(wall, sockleak)| wall.median / sockleak.median),
        wall_ms: wall,
        cpu_ms: Summary::of(runs.cpu_ms()),
        peak_kib: runs.costs.iter().map(|cost| cost.peak_kib).max(),
        verdict: runs.verdict,
        refused: runs.refused,
    };
    Ok(listers.iter().zip(runs).zip(medians).map(row).collect())
}

/// Runs these tools in turn, in every other round backwards: none always comes after the same.
pub(crate) fn measure(leaks: &Leaks, listers: &[Lister], rounds: Rounds) -> Result<Vec<Runs>> {
    let mut runs: Vec<Runs> = listers.iter().map(|_| Runs::default()).collect();
    for round in 0..rounds.fast.max(rounds.slow) {
        let mut turns: Vec<_> = listers.iter().zip(&mut runs).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (lister, runs) in turns {
            let most = if lister.slow { rounds.slow } else { rounds.fast };
            if runs.refused.is_none() && round < most {
                run_once(lister, leaks, runs)?;
            }
        }
    }
    Ok(runs)
}

fn run_once(lister: &Lister, leaks: &Leaks, runs: &mut Runs) -> Result<()> {
    let out: PathBuf = env::temp_dir().join(format!("compare.{}.out", std::process::id()));
    let tool = match Tool::start(&lister.command, &out)? {
        Ok(tool) => tool,
        Err(error) => {
            runs.refused = Some(error);
            return Ok(());
        }
    };
    let err = tool.err().to_owned();
    let cost = tool.finish()?;
    let text = fs::read_to_string(&out)?;
    fs::remove_file(&out)?;
    // Exit codes mean something else for each tool. All tools that refuse print nothing.
    if text.trim().is_empty() {
        runs.refused = Some(complaint(&err));
        return Ok(());
    }
    runs.costs.push(cost);
    if let Some(parser) = lister.parser {
        let verdict = leaks.truth.judge(&parser(&text));
        // The worst of all runs counts.
        if runs.verdict.is_none_or(|known| verdict.errors() >= known.errors()) {
            runs.verdict = Some(verdict);
        }
    }
    Ok(())
}
