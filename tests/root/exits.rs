//! Holders that exit while scans are dear: no row names them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::common::lines::Running;
use crate::common::tool::binary;
use crate::common::{DEADLINE, Leaker, Report, Watch, list, not_possible, slow_machine, sockleak};

/// `tests/hostile/crowd.py`, running in the network namespace of a workload.
struct Crowd {
    process: Running,
    pids: Vec<u32>,
}

#[derive(Deserialize)]
struct Ready {
    pids: Vec<u32>,
}

#[derive(Deserialize)]
struct Gone {
    gone: u32,
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/crowd.py")
}

/// Emulated machines have neither Python nor the program, and no time for a crowd.
fn is_possible(test: &str) -> bool {
    let possible = !slow_machine();
    if !possible {
        not_possible(test, "the crowd would take minutes to gather");
    }
    possible
}

impl Crowd {
    /// Processes that share a table with so many leaks, or each have a copy of it.
    fn start(place: &Leaker, how: &str, processes: usize, sockets: usize) -> Self {
        let numbers = [processes.to_string(), sockets.to_string()];
        let mut command = Command::new("python3");
        command.arg("-B").arg(program()).arg(how).args(numbers).stdin(Stdio::piped());
        let mut process = place.inside(|| Running::start(&mut command));
        let line = process.line(2 * DEADLINE);
        let line = line.unwrap_or_else(|| panic!("crowd.py has ended: {}", process.stderr()));
        let Ready { pids } = serde_json::from_slice(&line).unwrap();
        Self { process, pids }
    }

    /// Kills one of them; when this returns it is gone, and its number is free.
    fn kill(&mut self, pid: u32) {
        writeln!(self.process.stdin(), "{pid}").unwrap();
        let line = self.process.line(DEADLINE).unwrap();
        assert_eq!(serde_json::from_slice::<Gone>(&line).unwrap().gone, pid);
    }
}

/// Starts a process of this number, which holds nothing and waits for a signal.
#[expect(unsafe_code, reason = "the child calls nothing but close_range() and pause()")]
fn start_as(pid: u32) -> nix::Result<Pid> {
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let numbers = [pid.cast_signed()];
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.set_tid = numbers.as_ptr() as u64;
    arguments.set_tid_size = 1;
    let size = size_of_val(&arguments);
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    if child == 0 {
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            loop {
                libc::pause();
            }
        }
    }
    Errno::result(child).map(|_| Pid::from_raw(pid.cast_signed()))
}

fn names(report: &Report, pid: u32) -> bool {
    report.sockets.iter().any(|row| row.pid == Some(pid))
        || report.processes.iter().any(|process| process.pid == pid)
}

/// A report for which events were taken after this call.
fn fresh(watch: &mut Watch) -> Report {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    watch.wait_for("a newer report", |report| report.time > now);
    // That one may have taken its events before.
    watch.next()
}

/// With a budget that is used up at once, and no chance of another scan.
#[test]
fn no_row_names_a_process_that_is_gone_or_another_one_of_its_number() {
    if !is_possible("no_row_names_a_process_that_is_gone") {
        return;
    }
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let mut crowd = Crowd::start(&leaker, "copied", 4, 10);
    let mut watch = Watch::start(&leaker, &["--scan-budget", "0.1%"]);
    let pids = crowd.pids.clone();
    watch.wait_for("all holders", |report| pids.iter().all(|&pid| names(report, pid)));
    let victim = pids[1];
    crowd.kill(victim);
    // No heir where somebody else was faster, or the kernel is older than 5.5.
    let heir = start_as(victim).ok();
    let report = fresh(&mut watch);
    assert!(!names(&report, victim), "{report:#?}");
    assert!(names(&report, pids[2]) && report.row(&leak).pid == Some(leaker.pid), "{report:#?}");
    if let Some(heir) = heir {
        kill(heir, Signal::SIGKILL).unwrap();
        waitpid(heir, None).unwrap();
    }
}

/// An exit is the last of all threads', not the leader's.
#[test]
fn a_process_lives_on_when_its_first_thread_has_exited() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    watch.wait_for("the leak", |report| report.sockets.len() == 1);
    leaker.threads(3);
    let child = leaker.fork();
    watch.wait_for("the child", |report| names(report, child));
    leaker.exit();
    let report = watch.wait_for("the heir alone", |report| {
        report.rows(&leak).iter().all(|row| row.pid != Some(leaker.pid))
    });
    assert!(!names(&report, leaker.pid), "{report:#?}");
}

/// What an unprivileged user did to `watch`: rows that named the dead for 46 s, and leaks of others
/// without an owner.
#[test]
fn a_crowd_that_shares_a_table_hides_nobody() {
    if !is_possible("a_crowd_that_shares_a_table_hides_nobody") {
        return;
    }
    let mut leaker = Leaker::start();
    let port = leaker.listen("v4").port().to_string();
    let mut crowd = Crowd::start(&leaker, "shared", 2_000, 20);
    let mut watch = Watch::start(&leaker, &["--port", &port]);
    let leak = leaker.leak();
    watch.wait_for("its owner", |report| {
        report.rows(&leak).iter().any(|row| row.pid == Some(leaker.pid))
    });
    drop(watch);
    let mut of_crowd = Watch::start(&leaker, &[]);
    let pids = crowd.pids.clone();
    // The first is the program itself, which takes orders.
    let is_listed = |report: &Report| pids[1..].iter().copied().find(|&pid| names(report, pid));
    let report = of_crowd.wait_for("the crowd", |report| is_listed(report).is_some());
    let victim = is_listed(&report).unwrap();
    let row = report.sockets.iter().find(|row| row.pid == Some(victim)).unwrap();
    assert_eq!(row.holders_omitted, Some(1_936), "{row:#?}");
    let last = pids.iter().copied().rfind(|&pid| !names(&report, pid)).unwrap();
    crowd.kill(victim);
    assert!(!names(&fresh(&mut of_crowd), victim), "{victim}");
    drop(of_crowd);

    // A filter on processes does not take what is not listed for nobody's.
    assert!(Path::new(&format!("/proc/{last}")).exists());
    let report = list(&leaker, &["--pid", &last.to_string()]);
    assert!(!report.complete, "{report:#?}");
    let ran = sockleak(&["list", "--netns", &leaker.netns.to_string(), "--pid", &last.to_string()]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

/// Who all processes are is not read again and again: with a crowd, a leak of unknown owner may be of
/// any that is asked for, wherever it lives.
#[test]
fn a_crowd_does_not_make_each_report_read_everybody() {
    if !is_possible("a_crowd_does_not_make_each_report_read_everybody") {
        return;
    }
    let leaker = Leaker::start();
    let _crowd = Crowd::start(&leaker, "copied", 1_100, 0);
    let cmd = "crowd.py copied 1100 0";
    let mut elsewhere = Leaker::listening();
    let leak = elsewhere.leak();
    elsewhere.send_away(leak.fd());
    let report = sockleak(&["list", "--json", "--cmd", cmd]).report();
    assert!(!report.reasons().contains(&"owners-unknown"), "{report:#?}");
    let mut command = Command::new(binary());
    command.args(["watch", "--json", "--count", "1", "--cmd", cmd]).stdin(Stdio::null());
    let line = Running::start(&mut command).line(DEADLINE).unwrap();
    let report = Report::parse(&line);
    assert!(report.reasons().contains(&"owners-unknown"), "{report:#?}");
}
