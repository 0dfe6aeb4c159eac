//! Runs a tool and takes its time and memory. A small process starts the tool: a child's peak memory
//! begins with that of its parent, and this process is big.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::role::{Role, say, wait_for_end};

/// Command to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// File for its stdout
    #[arg(long)]
    out: PathBuf,
    /// File for its stderr
    #[arg(long)]
    err: PathBuf,
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(Serialize, Deserialize)]
struct Started {
    pid: Result<i32, String>,
}

/// Cost of a run, with all processes that it has waited for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) wall_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// Peak resident memory of the largest of them.
    pub(crate) peak_kib: i64,
    /// `None` where a signal ended it.
    pub(crate) exit_code: Option<i32>,
}

impl Cost {
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// Runs the command in the small process, ends it when stdin ends, and prints its cost.
pub(crate) fn measure(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().context("no command")?;
    // It may be a named pipe, which must not be replaced.
    let out = OpenOptions::new().write(true).create(true).truncate(true).open(&args.out)?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(out).stderr(File::create(&args.err)?);

    let start = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return say(&Started { pid: Err(error.to_string()) });
        }
    };
    let pid = child.id().cast_signed();
    say(&Started { pid: Ok(pid) })?;
    let over = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let over = Arc::clone(&over);
        move || {
            if wait_for_end().is_ok() && !over.load(Ordering::Acquire) {
                // SIGINT is ignored by commands in a shell's background.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    });
    let status = child.wait()?;
    let wall = start.elapsed();
    over.store(true, Ordering::Release);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    say(&Cost {
        wall_seconds: wall.as_secs_f64(),
        user_seconds: seconds(usage.user_time()),
        system_seconds: seconds(usage.system_time()),
        peak_kib: usage.max_rss(),
        exit_code: status.code(),
    })
}

/// A running tool.
pub(crate) struct Tool {
    role: Role,
    pid: i32,
    err: PathBuf,
}

impl Tool {
    /// Starts a command. The inner `Err` says why it cannot run at all.
    pub(crate) fn start(command: &[String], out: &Path) -> Result<Result<Self, String>> {
        let err = std::env::temp_dir().join(format!("compare.{}.err", std::process::id()));
        let options = ["--out", &out.to_string_lossy(), "--err", &err.to_string_lossy(), "--"];
        let args: Vec<String> = ["measure"]
            .iter()
            .chain(&options)
            .map(ToString::to_string)
            .chain(command.iter().cloned())
            .collect();
        let mut role = Role::start(&args)?;
        let started: Started = role.hear()?;
        Ok(started.pid.map(|pid| Self { role, pid, err }))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// CPU time so far, without that of its children.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.pid)).context("the tool has ended")?;
        Ok(Duration::from(clock_gettime(clock)?).as_secs_f64())
    }

    /// Resident memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field =
            |line: &str| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok();
        status.lines().find_map(field).context("no VmRSS")
    }

    /// Tells it to end.
    pub(crate) fn stop(mut self) -> Result<Cost> {
        self.role.end()
    }

    /// Waits for its own end.
    pub(crate) fn finish(mut self) -> Result<Cost> {
        self.role.hear()
    }

    /// Waits until the tool has loaded a BPF program and has had time to attach it. The inner `Err`
    /// has the tool's own words where it gave up instead.
    pub(crate) fn settle(&self) -> Result<Result<(), String>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !crate::floor::program_ids(self.pid).is_empty() {
                thread::sleep(Duration::from_millis(300));
                return Ok(Ok(()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Err(complaint(&self.err)))
    }

    /// The file with its stderr.
    pub(crate) fn err(&self) -> &Path {
        &self.err
    }
}

/// First line of stderr, which says why a tool gave up.
pub(crate) fn complaint(err: &Path) -> String {
    let text = fs::read_to_string(err).unwrap_or_default();
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("it has not said why").trim().to_owned()
}
