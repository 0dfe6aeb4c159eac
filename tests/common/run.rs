//! `sockleak run`, and its report as plain values.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::report::Reason;
use super::{Ran, leaker};
use crate::common::tool::binary;

/// The report of a run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RunReport {
    pub(crate) schema: u32,
    pub(crate) command: Vec<String>,
    pub(crate) command_exit_code: Option<i32>,
    pub(crate) command_signal: Option<i32>,
    pub(crate) exit_code: i32,
    pub(crate) complete: bool,
    pub(crate) incomplete: Vec<Reason>,
    pub(crate) leaked: usize,
    pub(crate) max_leaks: usize,
    pub(crate) sockets: Vec<Leak>,
    pub(crate) late: Vec<Leak>,
    pub(crate) known: usize,
    pub(crate) gone: Vec<Value>,
    pub(crate) too_young: u64,
    pub(crate) survivors: usize,
    pub(crate) stranded: BTreeMap<String, u64>,
    pub(crate) records: u64,
}

/// A leaked socket in the hands of a process.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Leak {
    pub(crate) ended: String,
    pub(crate) closed_before_exit_seconds: Option<f64>,
    pub(crate) by_exec: bool,
    pub(crate) dead_seconds: f64,
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) args: Vec<String>,
    pub(crate) uid: u32,
    pub(crate) fds: Vec<u32>,
    pub(crate) netns: u64,
    pub(crate) direction: Option<String>,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) verdict: Option<String>,
    pub(crate) class: String,
}

impl Leak {
    pub(crate) fn verdict(&self) -> &str {
        self.verdict.as_deref().unwrap_or_default()
    }
}

impl RunReport {
    /// The report on stderr, after whatever the command has written there.
    #[track_caller]
    pub(crate) fn of(ran: &Ran) -> Self {
        let line = ran.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// The only leak; panics when there is another number of them.
    #[track_caller]
    pub(crate) fn only(&self) -> &Leak {
        let [leak] = &self.sockets[..] else { panic!("not one leak: {self:#?}") };
        assert_eq!(self.leaked, 1, "{self:#?}");
        leak
    }
}

/// `sockleak run` with these options and this command, as it would be started without sudo.
pub(crate) fn command<S: AsRef<OsStr>>(options: &[&str], words: &[S]) -> Command {
    super::need_root();
    super::allow_locked_memory();
    let mut command = Command::new(binary());
    command.arg("run").args(options).arg("--").args(words);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end under `run`. Since Linux 7.0 a task can be preempted in our programs; an event
/// may be lost then, and the answer says so. On an emulated machine the command is run again.
pub(crate) fn attempt<S: AsRef<OsStr>>(options: &[&str], words: &[S]) -> Ran {
    const ATTEMPTS: usize = 5;
    let mut ran = Ran::of(&mut command(options, words));
    for _ in 1..ATTEMPTS {
        if !super::slow_machine() || !ran.stderr.contains("events were lost") {
            break;
        }
        ran = Ran::of(&mut command(options, words));
    }
    ran
}

/// Runs a command to its end under `run --json`. Its exit code has to be what the report says.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(options: &[&str], words: &[S]) -> (Ran, RunReport) {
    let options = [&["--json"], options].concat();
    let ran = attempt(&options, words);
    let report = RunReport::of(&ran);
    assert_eq!(ran.code, Some(report.exit_code), "{ran:?}");
    (ran, report)
}

/// The words of a planted program.
pub(crate) fn plan(words: &[&str]) -> Vec<String> {
    let leaker = leaker::binary().into_os_string().into_string().unwrap();
    [leaker, "plan".to_owned()].into_iter().chain(words.iter().map(|&word| word.into())).collect()
}

/// Runs a planted program whose answer has to be whole.
#[track_caller]
pub(crate) fn planted(options: &[&str], words: &[&str]) -> RunReport {
    let (_, report) = run(options, &plan(words));
    assert!(report.complete, "{report:#?}");
    report
}
