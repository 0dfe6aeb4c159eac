//! `run` on programs that leak in one way each: one leak, and how it ended.

use std::path::Path;
use std::process::Stdio;

use crate::common::lines::Running;
use crate::common::run::{Leak, RunReport, command, plan, planted};
use crate::common::{DEADLINE, has_helper, not_possible, slow_machine, wait_until};

/// A program that closes last thing of all is slow to exit on a slow machine.
const LONG_TEARDOWN: [&str; 2] = ["--teardown", "60s"];
/// A time within which no program that keeps what it has for 200 ms exits.
const SHORT_TEARDOWN: [&str; 2] = ["--teardown", "1ms"];

/// The only leak of a program that ends well and fails the run.
#[track_caller]
fn only(options: &[&str], words: &[&str]) -> Leak {
    let report = planted(options, words);
    assert_eq!((report.exit_code, report.command_exit_code), (1, Some(0)), "{report:#?}");
    report.only().clone()
}

/// A leak that the exit of the planted program's own process ends.
#[track_caller]
fn at_exit(words: &[&str], verdict: &str) -> Leak {
    let leak = only(&[], words);
    assert_eq!((&*leak.ended, leak.verdict()), ("at-exit", verdict), "{leak:#?}");
    assert_eq!(leak.direction.as_deref(), Some("accepted"), "{leak:#?}");
    assert!(!leak.by_exec && leak.dead_seconds >= 0.2, "{leak:#?}");
    leak
}

#[test]
fn left_to_the_exit() {
    let leak = at_exit(&["exit"], "eof-unread");
    assert_eq!(leak.fds.len(), 1, "{leak:#?}");
    assert_eq!(&leak.args[1..], ["plan", "exit"], "{leak:#?}");
    assert_eq!((&*leak.comm, leak.uid), ("leaker", 0), "{leak:#?}");
    assert!(leak.local.starts_with("127.0.0.1:") && leak.remote.starts_with("127."), "{leak:#?}");
}

#[test]
fn each_of_many_is_named() {
    let report = planted(&[], &["exit", "--count", "50"]);
    assert_eq!((report.leaked, report.sockets.len()), (50, 50), "{report:#?}");
    let mut fds: Vec<_> = report.sockets.iter().flat_map(|leak| &leak.fds).collect();
    fds.sort_unstable();
    fds.dedup();
    assert_eq!(fds.len(), 50, "{report:#?}");
}

#[test]
fn closed_in_the_last_moments() {
    let leak = only(&LONG_TEARDOWN, &["teardown"]);
    assert_eq!((&*leak.ended, leak.verdict()), ("at-teardown", "eof-unread"), "{leak:#?}");
    assert!(leak.closed_before_exit_seconds.is_some(), "{leak:#?}");
    // Only x86 tells of the system call.
    let known = usize::from(cfg!(target_arch = "x86_64"));
    assert_eq!(leak.fds.len(), known, "{leak:#?}");
}

#[test]
fn closed_late() {
    for case in ["late", "reset-late"] {
        let report = planted(&SHORT_TEARDOWN, &[case]);
        assert_eq!((report.exit_code, report.leaked), (0, 0), "{report:#?}");
        let [late] = &report.late[..] else { panic!("{report:#?}") };
        assert_eq!((&*late.ended, late.closed_before_exit_seconds), ("late", None), "{late:#?}");
        let counted = only(&[&SHORT_TEARDOWN[..], &["--count-late"]].concat(), &[case]);
        assert_eq!(counted.ended, "late", "{counted:#?}");
    }
}

#[test]
fn closed_in_time() {
    // A busy machine is slow, too.
    let patient = ["--min-age", "10s"];
    let count = if slow_machine() { "200" } else { "5000" };
    let report = planted(&patient, &["clean", "--count", count]);
    assert_eq!((report.exit_code, report.leaked, report.late.len()), (0, 0, 0), "{report:#?}");
    // The program's own exec() is the only thing to be told.
    assert_eq!(report.records, 1, "{report:#?}");
}

#[test]
fn both_ends_open_at_the_exit() {
    let report = planted(&[], &["both-open"]);
    assert_eq!((report.exit_code, report.leaked, report.too_young), (0, 0, 0), "{report:#?}");
}

#[test]
fn too_young_at_the_exit() {
    let report = planted(&["--min-age", "1h"], &["exit", "--count", "3"]);
    assert_eq!((report.exit_code, report.leaked, report.too_young), (0, 0, 3), "{report:#?}");
}

#[test]
fn killed() {
    let report = planted(&[], &["kill"]);
    assert_eq!((report.exit_code, report.command_exit_code), (137, None), "{report:#?}");
    assert_eq!(report.command_signal, Some(9), "{report:#?}");
    assert_eq!(report.only().ended, "at-exit", "{report:#?}");
}

#[test]
fn reset_while_held() {
    let leak = at_exit(&["reset"], "reset");
    assert_eq!(leak.fds.len(), 1, "{leak:#?}");
}

#[test]
fn over_in_both_directions() {
    at_exit(&["dead"], "dead");
}

#[test]
fn never_accepted() {
    let leak = at_exit(&["never-accepted"], "never-accepted");
    assert!(leak.fds.is_empty(), "{leak:#?}");
}

#[test]
fn in_flight() {
    let leak = at_exit(&["in-flight"], "eof-unread");
    assert!(leak.fds.is_empty(), "{leak:#?}");
    // The descriptor that another process had is not its own.
    let leak = at_exit(&["in-flight-after-child"], "eof-unread");
    assert!(leak.fds.is_empty(), "{leak:#?}");
}

/// The command ends while a child of its is being killed: so many sockets are not closed in an instant.
#[test]
fn a_child_that_has_not_exited_yet() {
    let count = if slow_machine() { 300 } else { 3_000 };
    let report = planted(&[], &["killed-child", "--count", &count.to_string()]);
    assert_eq!((report.exit_code, report.leaked), (1, count), "{report:#?}");
}

#[test]
fn the_leader_exits_first() {
    let leak = at_exit(&["threads"], "eof-unread");
    assert_eq!(leak.fds.len(), 1, "{leak:#?}");
}

/// Descendants, however they came about. The planted program prints the numbers of its children.
#[test]
fn in_descendants() {
    for (case, children) in [("double-fork", 2), ("inherited", 2)] {
        let (ran, report) = crate::common::run::run(&[], &plan(&[case]));
        let pids: Vec<u32> = ran.text().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(pids.len(), children, "{ran:?}");
        let leak = report.only();
        assert_eq!((&*leak.ended, Some(&leak.pid)), ("at-exit", pids.iter().max()), "{report:#?}");
        assert_eq!(leak.args[2], case, "{report:#?}");
    }
    for case in ["clone-parent", "vfork"] {
        let leak = at_exit(&[case], "eof-unread");
        assert_eq!(leak.fds.len(), 1, "{leak:#?}");
    }
}

#[test]
fn over_exec() {
    let closing = only(&[], &["exec-closing"]);
    assert_eq!((&*closing.ended, &*closing.args[2]), ("at-exit", "exec-closing"), "{closing:#?}");
    assert_eq!(closing.by_exec, cfg!(target_arch = "x86_64"), "{closing:#?}");
    let keeping = at_exit(&["exec-keeping"], "eof-unread");
    assert_eq!(keeping.args[2], "both-open", "{keeping:#?}");
    // As long as both programs together had it.
    assert!(keeping.dead_seconds >= 0.4, "{keeping:#?}");
}

/// Runs a program that leaves a daemon behind; the report's only leak is the daemon's.
#[track_caller]
fn left_to_a_daemon(case: &str, options: &[&str]) -> Leak {
    let mut command = command(&["--json"], &plan(&[&[case], options].concat()));
    let mut run = Running::start(command.stdin(Stdio::piped()));
    // The daemon keeps stdout open: what counts is the end of the run.
    let code = run.end_without_output(DEADLINE).code();
    wait_until("the report", || run.stderr().ends_with('\n'));
    let stderr = run.stderr();
    let report: RunReport = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    let daemon: u32 = std::iter::from_fn(|| run.line_at_once())
        .map(|line| str::from_utf8(&line).unwrap().trim().parse().unwrap())
        .max()
        .unwrap();
    assert!(std::fs::metadata(format!("/proc/{daemon}")).is_ok(), "it lives");
    assert_eq!((code, report.survivors), (Some(1), 1), "{report:#?}");
    let leak = report.only();
    assert_eq!((&*leak.ended, leak.pid, leak.fds.len()), ("still-held", daemon, 1), "{report:#?}");
    assert_eq!((&*leak.comm, &*leak.args[2]), ("leaker", case), "{report:#?}");
    leak.clone()
}

#[test]
fn held_by_a_survivor() {
    assert_eq!(left_to_a_daemon("daemon", &[]).verdict(), "eof-unread");
    assert_eq!(left_to_a_daemon("daemon-queue", &[]).verdict(), "never-accepted");
    assert_eq!(left_to_a_daemon("daemon-threads", &[]).verdict(), "eof-unread");
}

/// Go listens with MPTCP, and most clients speak TCP.
#[test]
fn in_the_queue_of_a_listener_of_mptcp() {
    if !Path::new("/proc/sys/net/mptcp/enabled").exists() {
        not_possible("run_ends::in_the_queue_of_a_listener_of_mptcp", "there is no MPTCP");
        return;
    }
    at_exit(&["never-accepted", "--mptcp"], "never-accepted");
    assert_eq!(left_to_a_daemon("daemon-queue", &["--mptcp"]).verdict(), "never-accepted");
}

#[test]
fn stranded_at_exit() {
    let report = planted(&[], &["half-shut"]);
    assert_eq!(report.only().verdict(), "eof-unread", "{report:#?}");
    let report = planted(&["--stranded"], &["half-shut"]);
    let mut verdicts: Vec<_> =
        report.sockets.iter().map(|leak| (&*leak.class, leak.verdict())).collect();
    verdicts.sort_unstable();
    assert_eq!(verdicts, [("leaked", "eof-unread"), ("stranded", "half-shut")], "{report:#?}");
}

/// The walk of the descriptor table is bounded where the kernel has no loops.
#[test]
fn descriptors_are_named_as_far_as_the_kernel_can() {
    let report = planted(&[], &["exit", "--count", "300"]);
    assert_eq!(report.leaked, 300, "{report:#?}");
    let named = report.sockets.iter().filter(|leak| !leak.fds.is_empty()).count();
    match has_helper("bpf_loop") {
        true => assert_eq!(named, 300, "{report:#?}"),
        false => assert!((100..300).contains(&named), "{report:#?}"),
    }
}
