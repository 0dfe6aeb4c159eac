//! Measures the time from exec to the first report, and what `run` adds to a command.

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

/// The shortest command that there is, under `run`.
pub(crate) const RUN_TRUE: &str = "sockleak run -- true";

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
    let commands: [(&str, &[&str]); 2] =
        [("true", &["true"]), (RUN_TRUE, &[&sockleak, "run", "--", "true"])];
    let mut ends = [const { Vec::new() }; 2];
    for _ in 0..repeats {
        for ((_, command), readings) in commands.iter().zip(&mut ends) {
            readings.push(to_the_end(command)? * 1e3);
        }
    }
    let row = |((what, _), readings): (&(&str, _), Vec<f64>)| {
        Some(TimeRow { what: (*what).to_owned(), ms: Summary::of(readings)? })
    };
    let all = starters.iter().zip(readings).chain(commands.iter().zip(ends));
    Ok(all.filter_map(row).collect())
}

/// Seconds until a command has ended, and well.
fn to_the_end(command: &[&str]) -> Result<f64> {
    let start = Instant::now();
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", command[0]))?;
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(status.success(), "{}: {status}", command.join(" "));
    Ok(seconds)
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
