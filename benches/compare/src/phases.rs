//! Shows where the time of `sockleak list` goes, from a trace of its system calls.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result};

use crate::options::Options;
use crate::results::TimeRow;
use crate::summary::Summary;

/// Notes when each phase begins. 33 is `BPF_ITER_CREATE`, with which the scan begins.
const SCRIPT: &str = "
tracepoint:sched:sched_process_exec /pid == cpid/ { @t0 = nsecs; }
tracepoint:syscalls:sys_enter_bpf /pid == cpid && !@t1/ { @t1 = nsecs; }
tracepoint:syscalls:sys_enter_bpf /pid == cpid && args->cmd == 33 && !@t2/ { @t2 = nsecs; }
tracepoint:sched:sched_process_exit /tid == cpid/ { @t3 = nsecs; }
";

/// Each phase ends where the next begins.
const PHASES: [&str; 3] = [
    "prepares: reads the kernel's BTF, opens the programs",
    "loads maps and programs, which the kernel verifies",
    "scans and prints",
];
const ALL: &str = "all, from exec to exit";

/// Phases of `sockleak list`, as medians of many runs.
pub(crate) fn of_list(options: &Options) -> Result<Vec<TimeRow>> {
    let runs = if options.quick { 5 } else { 15 };
    let mut readings = [const { Vec::new() }; PHASES.len() + 1];
    for _ in 0..runs {
        let Some(times) = trace(&options.sockleak)? else {
            return Ok(Vec::new());
        };
        for (phase, readings) in readings.iter_mut().enumerate() {
            let (from, to) = if phase < PHASES.len() { (phase, phase + 1) } else { (0, phase) };
            readings.push((times[to] - times[from]) / 1e6);
        }
    }
    let names = PHASES.into_iter().chain([ALL]);
    let row = |(what, readings): (&str, _)| {
        Some(TimeRow { what: what.to_owned(), ms: Summary::of(readings)? })
    };
    Ok(names.zip(readings).filter_map(row).collect())
}

/// Times at which the phases began, and the end. `None` where bpftrace does not run.
fn trace(sockleak: &Path) -> Result<Option<[f64; PHASES.len() + 1]>> {
    let out = env::temp_dir().join(format!("compare.{}.phases", process::id()));
    let output = Command::new("bpftrace")
        .args(["-e", SCRIPT, "-c", &format!("{} list", sockleak.display()), "-o"])
        .arg(&out)
        .stdout(Stdio::null())
        .output()
        .context("cannot run bpftrace")?;
    let text = fs::read_to_string(&out).unwrap_or_default();
    // It is missing where bpftrace has given up.
    let _ = fs::remove_file(&out);
    let times = times(&text);
    if times.is_none() {
        let words = String::from_utf8_lossy(&output.stderr);
        eprintln!("bpftrace has not traced `list`: {}{}", words.trim(), text.trim());
    }
    Ok(times)
}

/// Reads bpftrace's variables: `@t0: 736361928110`.
fn times(text: &str) -> Option<[f64; PHASES.len() + 1]> {
    let variable = |line: &str| {
        let (name, value) = line.strip_prefix("@t")?.split_once(": ")?;
        Some((name.parse::<usize>().ok()?, value.trim().parse::<f64>().ok()?))
    };
    let variables: HashMap<usize, f64> = text.lines().filter_map(variable).collect();
    let mut times = [0.0; PHASES.len() + 1];
    for (index, time) in times.iter_mut().enumerate() {
        *time = *variables.get(&index)?;
    }
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_are_found_or_none() {
        let text = "Attaching 4 probes...\n\n\n@t1: 20\n@t0: 10\n@t2: 30\n";
        assert_eq!(times(text), None);
        assert_eq!(times(&format!("{text}@t3: 40\n")), Some([10.0, 20.0, 30.0, 40.0]));
    }
}
