//! How long it takes to list what is leaked, with its owners.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::Options;
use crate::parse::{self, Parser};
use crate::results::ListRow;
use crate::scene::{Leaks, Scene};
use crate::summary::Summary;
use crate::tool::{Cost, Tool, complaint};
use crate::truth::Verdict;

/// What all others are compared with.
pub(crate) const SOCKLEAK: &str = "sockleak list";
pub(crate) const COUNTING: &str = "an iterator that only counts";
pub(crate) const SS_OWNERS: &str = "ss -tnp state close-wait";
pub(crate) const SS: &str = "ss -tn state close-wait";

/// A tool that lists sockets, and how it is asked to.
struct Lister {
    name: &'static str,
    command: Vec<String>,
    /// `None`: it lists nothing.
    parser: Option<Parser>,
    /// It looks at every descriptor through /proc.
    slow: bool,
}

/// What its runs have given.
#[derive(Default)]
struct Runs {
    costs: Vec<Cost>,
    verdict: Option<Verdict>,
    refused: Option<String>,
}

pub(crate) fn run(scene: &Scene, options: &Options) -> Result<Vec<ListRow>> {
    let _crowd = scene.crowd()?;
    let workloads: &[(usize, usize)] = match options.quick {
        true => &[(1_000, 1), (10_000, 1), (100_000, 1)],
        false => &[
            (1_000, 1),
            (1_000, 10),
            (1_000, 100),
            (10_000, 1),
            (10_000, 10),
            (10_000, 100),
            (100_000, 1),
            (100_000, 10),
            (100_000, 100),
        ],
    };
    let mut rows = Vec::new();
    for &(sockets, processes) in workloads {
        let leaks = scene.leak(sockets, processes)?;
        eprintln!("list: {sockets} sockets in {} processes", leaks.processes);
        rows.extend(workload(&leaks, options)?);
    }
    Ok(rows)
}

fn listers(options: &Options) -> Result<Vec<Lister>> {
    let sockleak = options.sockleak.to_string_lossy();
    let this = env::current_exe()?;
    let lister = |name, command: &[&str], parser: Option<Parser>, slow| Lister {
        name,
        command: command.iter().map(ToString::to_string).collect(),
        parser,
        slow,
    };
    Ok(vec![
        lister(SOCKLEAK, &[&sockleak, "list"], Some(parse::sockleak_text), false),
        lister(
            "sockleak list --json",
            &[&sockleak, "list", "--json"],
            Some(parse::sockleak_json),
            false,
        ),
        lister(COUNTING, &[&this.to_string_lossy(), "count"], None, false),
        lister(SS, &["ss", "-tn", "state", "close-wait"], Some(parse::ss), false),
        lister(SS_OWNERS, &["ss", "-tnp", "state", "close-wait"], Some(parse::ss), true),
        lister(
            "lsof -nP -iTCP -sTCP:CLOSE_WAIT",
            &["lsof", "-nP", "-iTCP", "-sTCP:CLOSE_WAIT"],
            Some(parse::lsof),
            true,
        ),
    ])
}

fn workload(leaks: &Leaks, options: &Options) -> Result<Vec<ListRow>> {
    let sockets = leaks.truth.len();
    let listers = listers(options)?;
    let mut runs: Vec<Runs> = listers.iter().map(|_| Runs::default()).collect();
    let (most, most_slow) = match (options.quick, sockets > 50_000) {
        (true, _) => (3, 1),
        (false, true) => (9, 3),
        (false, false) => (9, 5),
    };
    for round in 0..most {
        for (lister, runs) in listers.iter().zip(&mut runs) {
            if runs.refused.is_none() && (!lister.slow || round < most_slow) {
                one(lister, leaks, runs)?;
            }
        }
    }

    let medians: Vec<_> = runs.iter().map(|runs| summary(runs, |c| c.wall_seconds)).collect();
    let sockleak = medians.first().cloned().flatten();
    let row = |((lister, runs), wall): ((&Lister, Runs), Option<Summary>)| ListRow {
        sockets,
        processes: leaks.processes,
        tool: lister.name.to_owned(),
        times_sockleak: wall
            .as_ref()
            .zip(sockleak.as_ref())
            .map(|(wall, sockleak)| wall.median / sockleak.median),
        wall_ms: wall,
        cpu_ms: summary(&runs, Cost::cpu_seconds),
        peak_kib: runs.costs.iter().map(|cost| cost.peak_kib).max(),
        verdict: runs.verdict,
        refused: runs.refused,
    };
    Ok(listers.iter().zip(runs).zip(medians).map(row).collect())
}

fn summary(runs: &Runs, seconds: impl Fn(&Cost) -> f64) -> Option<Summary> {
    Summary::of(runs.costs.iter().map(|cost| seconds(cost) * 1e3).collect())
}

fn one(lister: &Lister, leaks: &Leaks, runs: &mut Runs) -> Result<()> {
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
    // Tools differ in what their exit codes mean; saying nothing is what refusal has in common.
    if text.trim().is_empty() {
        runs.refused = Some(complaint(&err));
        return Ok(());
    }
    runs.costs.push(cost);
    if let Some(parser) = lister.parser {
        let verdict = leaks.truth.judge(&parser(&text));
        // The worst of all runs counts.
        let errors = |v: &Verdict| (v.wrong_owners, v.planted - v.found);
        if runs.verdict.is_none_or(|known| errors(&verdict) >= errors(&known)) {
            runs.verdict = Some(verdict);
        }
    }
    Ok(())
}
