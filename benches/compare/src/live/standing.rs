//! Runs a tool that refreshes every second for a minute, beside churn and leaked sockets.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::follow::WATCH;
use super::load::Frames;
use crate::churn::Churn;
use crate::options::Options;
use crate::parse::{self, Report};
use crate::results::StandingRow;
use crate::scene::{Leaks, Scene};
use crate::tool::Tool;

const LEAKED: usize = 10_000;
pub(crate) const WATCH_SS: &str = "watch -n1 ss -tnp state close-wait";
const SS: [&str; 4] = ["ss", "-tnp", "state", "close-wait"];

pub(crate) fn standing(scene: &Scene, options: &Options) -> Result<Vec<StandingRow>> {
    let time = Duration::from_secs(if options.quick { 10 } else { 60 });
    let leaks = scene.leak(LEAKED, 1)?;
    eprintln!("standing: {LEAKED} sockets beside churn");
    Ok(vec![sockleak(&leaks, time, options)?, watch_ss(&leaks, time)?])
}

fn sockleak(leaks: &Leaks, time: Duration, options: &Options) -> Result<StandingRow> {
    let command = [&options.sockleak.to_string_lossy(), "watch", "--json"].map(str::to_owned);
    let mut churn = Churn::start()?;
    let frames = Frames::open()?;
    let start = Instant::now();
    let tool = match Tool::start(&command, frames.path())? {
        Ok(tool) => tool,
        Err(error) => anyhow::bail!("{WATCH}: {error}"),
    };
    let window = churn.pass(time)?;
    let during = frames.last();
    let cpu = tool.cpu_seconds()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(churn);
    // After two refreshes the sockets of the churn are gone from the table.
    thread::sleep(Duration::from_millis(2500));
    let cost = tool.stop()?;
    let after = Report::last(&frames.last()).context("the last report is not complete")?;
    Ok(StandingRow {
        tool: WATCH.to_owned(),
        refused: None,
        seconds,
        cpu_percent: cpu / seconds * 100.0,
        peak_kib: cost.peak_kib,
        connections_per_second: window.rate(),
        verdict: leaks.truth.judge(&parse::sockleak_json(&during)),
        verdict_after: Some(leaks.truth.judge(&after.rows())),
        events_lost: Some(after.lost_events),
    })
}

fn watch_ss(leaks: &Leaks, time: Duration) -> Result<StandingRow> {
    let mut churn = Churn::start()?;
    let command: Vec<String> = WATCH_SS.split(' ').map(str::to_owned).collect();
    let mut row = StandingRow {
        tool: WATCH_SS.to_owned(),
        refused: None,
        seconds: 0.0,
        cpu_percent: 0.0,
        peak_kib: 0,
        connections_per_second: 0.0,
        verdict: leaks.truth.judge(&[]),
        verdict_after: None,
        events_lost: None,
    };
    match Tool::start(&command, Path::new("/dev/null"))? {
        Ok(tool) => {
            let window = churn.pass(time)?;
            let cost = tool.stop()?;
            row.seconds = cost.wall_seconds;
            row.cpu_percent = cost.cpu_seconds() / cost.wall_seconds * 100.0;
            row.peak_kib = cost.peak_kib;
            row.connections_per_second = window.rate();
        }
        Err(error) => row.refused = Some(error),
    }
    // `watch` shows one screen: read all rows that it would have shown.
    let ss = Command::new(SS[0]).args(&SS[1..]).output();
    let rows = ss.map(|output| parse::ss(&String::from_utf8_lossy(&output.stdout)));
    row.verdict = leaks.truth.judge(&rows.unwrap_or_default());
    Ok(row)
}
