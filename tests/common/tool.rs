//! The tool under test, run to its end or watched while it runs.

use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde::Deserialize;

use super::leaker::{Leaker, Listener};
use super::lines::Running;
use super::report::Report;
use super::{DEADLINE, slow_machine};

/// The refresh of the tests' `watch`.
pub(crate) const INTERVAL: &str = "200ms";

/// How often a test of events is tried where some are lost: see [`Events::test`].
const ATTEMPTS: u32 = 10;

/// The tool's own path.
pub(crate) fn binary() -> PathBuf {
    env::var_os("SOCKLEAK_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sockleak").into()).into()
}

/// A run that is over.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr } = self;
        let stdout = String::from_utf8_lossy(stdout);
        write!(f, "exit code {code:?}, stdout {stdout:?}, stderr {stderr:?}")
    }
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut process = Running::start(command.stdin(Stdio::null()));
        let stdout = process.rest(DEADLINE);
        let code = process.end(DEADLINE).code();
        Self { code, stdout, stderr: process.stderr() }
    }

    pub(crate) fn report(&self) -> Report {
        assert!(!self.stdout.is_empty(), "no report: {self:?}");
        Report::parse(&self.stdout)
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }
}

/// Runs the tool to its end.
pub(crate) fn sockleak<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    Ran::of(Command::new(binary()).args(arguments))
}

/// The report of `list --json` on the workload's namespace. Its exit code has to fit.
#[track_caller]
pub(crate) fn list(leaker: &Leaker, options: &[&str]) -> Report {
    list_in(leaker.netns, options)
}

/// The same on any network namespace.
#[track_caller]
pub(crate) fn list_in(netns: u64, options: &[&str]) -> Report {
    let netns = netns.to_string();
    let ran = sockleak(&[&["list", "--json", "--netns", &netns][..], options].concat());
    assert!(matches!(ran.code, Some(0 | 1 | 4)), "{ran:?}");
    let report = ran.report();
    let fits = match (report.complete, report.sockets.is_empty() && report.groups.is_empty()) {
        (false, _) => 4,
        (true, true) => 0,
        (true, false) => 1,
    };
    assert_eq!(ran.code, Some(fits), "{ran:?}");
    report
}

/// The text of `list` on the workload's namespace.
pub(crate) fn list_text(leaker: &Leaker, options: &[&str]) -> Ran {
    let netns = leaker.netns.to_string();
    sockleak(&[&["list", "--netns", &netns][..], options].concat())
}

/// A running `watch --json` on the workload's namespace.
pub(crate) struct Watch {
    pub(crate) process: Running,
    last: Option<Report>,
}

impl Watch {
    /// Starts it, and waits for its first report: from then on it sees everything.
    pub(crate) fn start(leaker: &Leaker, options: &[&str]) -> Self {
        let netns = leaker.netns.to_string();
        let mut command = Command::new(binary());
        command.args(["watch", "--json", "--interval", INTERVAL, "--netns", &netns]).args(options);
        // Beside other load a scan may cost ten times as much as usual.
        if !options.contains(&"--scan-budget") {
            command.args(["--scan-budget", "100%"]);
        }
        let process = Running::start(command.stdin(Stdio::null()));
        let mut watch = Self { process, last: None };
        watch.next();
        watch
    }

    /// The next report.
    pub(crate) fn next(&mut self) -> Report {
        let Some(line) = self.process.line(DEADLINE) else {
            panic!("watch has ended: {}", self.process.stderr());
        };
        let report = Report::parse(&line);
        self.last = Some(report.clone());
        report
    }

    /// Reads on until a report satisfies the condition.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + DEADLINE;
        loop {
            let report = self.next();
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < end, "{DEADLINE:?} without {what}; at last: {report:#?}");
        }
    }

    /// Stops it with a signal; its exit code and its last report. None of a report that took longer than
    /// a second to write: the tool ends in the middle of it.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, Option<Report>) {
        self.process.signal(signal);
        let code = self.process.end(DEADLINE).code();
        while let Some(line) = self.process.line_within(DEADLINE) {
            self.last = line.ends_with(b"\n").then(|| Report::parse(&line));
        }
        (code, self.last.take())
    }
}

/// One state transition.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) time: String,
    pub(crate) sock: String,
    pub(crate) netns: u64,
    pub(crate) family: String,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) old_state: String,
    pub(crate) new_state: String,
    pub(crate) in_old_state_seconds: Option<f64>,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) exiting: Option<bool>,
}

impl Event {
    pub(crate) fn is(&self, old: &str, new: &str) -> bool {
        self.old_state == old && self.new_state == new
    }
}

/// A running `events --json` on the workload's namespace.
pub(crate) struct Events {
    pub(crate) process: Running,
}

impl Events {
    /// Starts it, and has clients visit until it has seen one: from then on it sees everything.
    pub(crate) fn start(leaker: &mut Leaker) -> Self {
        Self::start_by(Command::new(binary()), leaker)
    }

    /// The same, started by a command that takes the tool's arguments.
    pub(crate) fn start_by(mut command: Command, leaker: &mut Leaker) -> Self {
        let netns = leaker.netns.to_string();
        command.args(["events", "--json", "--netns", &netns]);
        let mut process = Running::start(command.stdin(Stdio::null()));
        let end = Instant::now() + DEADLINE;
        while process.line_at_once().is_none() {
            assert!(Instant::now() < end, "no event in {DEADLINE:?}: {}", process.stderr());
            leaker.churn(1, 1000);
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process }
    }

    /// Tests what it shows. Since Linux 7.0 tasks can be preempted while they are shown to us, and
    /// what others do meanwhile is not shown, but told to be lost: then it is tested again.
    pub(crate) fn test(
        leaker: &mut Leaker,
        start: impl Fn(&mut Leaker) -> Self,
        test: impl Fn(&mut Leaker, &mut Self),
    ) {
        for attempt in 1..=ATTEMPTS {
            let mut events = start(leaker);
            let outcome = catch_unwind(AssertUnwindSafe(|| test(leaker, &mut events)));
            let Err(panic) = outcome else { return };
            events.process.signal(Signal::SIGINT);
            let lost = events.process.end(DEADLINE).code() == Some(4);
            if attempt == ATTEMPTS || !lost {
                resume_unwind(panic);
            }
        }
    }

    /// The next event; one that was lost does not come.
    fn line(&mut self, seen: &[Event]) -> Vec<u8> {
        const LOST: Duration = Duration::from_secs(5);
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if let Some(line) = self.process.line_within(LOST) {
                return line;
            }
            let said = self.process.stderr();
            assert!(!said.contains("events lost"), "{said}; seen: {seen:#?}");
        }
        panic!("no event in {DEADLINE:?}: {}; seen: {seen:#?}", self.process.stderr());
    }

    /// Reads until the event comes that `is_last` tells; all up to it that touch a port.
    pub(crate) fn until(
        &mut self,
        listener: &Listener,
        is_last: impl Fn(&Event) -> bool,
    ) -> Vec<Event> {
        let port = format!(":{}", listener.port());
        let mut seen = Vec::new();
        loop {
            let line = self.line(&seen);
            let event: Event = serde_json::from_slice(&line).unwrap();
            if event.local.ends_with(&port) || event.remote.ends_with(&port) {
                let last = is_last(&event);
                seen.push(event);
                if last {
                    return seen;
                }
            }
        }
    }
}
