//! Measures the time from exec to the first report.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::live::WATCH;
use crate::options::Options;
use crate::results::TimeRow;
use crate::summary::Summary;

pub(crate) fn run(options: &Options) -> Result<Vec<TimeRow>> {
    let repeats = if options.quick { 5 } else { 21 };
    let sockleak = options.sockleak.to_string_lossy().into_owned();
    let this = env::current_exe()?.to_string_lossy().into_owned();
    let starters: [(&str, &[&str]); 2] = [
        (WATCH, &[&sockleak, "watch", "--json"]),
        ("a program that attaches nothing but an empty one", &[&this, "nothing"]),
    ];
    eprintln!("start");
    let mut readings = [const { Vec::new() }; 2];
    for _ in 0..repeats {
        for ((_, command), readings) in starters.iter().zip(&mut readings) {
            readings.push(first_line(command)? * 1e3);
        }
    }
    let row = |((what, _), readings): (&(&str, _), Vec<f64>)| {
        Some(TimeRow { what: (*what).to_owned(), ms: Summary::of(readings)? })
    };
    Ok(starters.iter().zip(readings).filter_map(row).collect())
}

/// Seconds until a command prints its first line.
fn first_line(command: &[&str]) -> Result<f64> {
    let start = Instant::now();
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command[0]))?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let seconds = start.elapsed().as_secs_f64();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
    child.wait()?;
    Ok(seconds)
}
