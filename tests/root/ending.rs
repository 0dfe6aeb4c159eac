//! How the tool ends, and what it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use libbpf_rs::query::{LinkInfoIter, ProgInfoIter};
use nix::sys::signal::Signal;

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary, list_text, sockleak};
use crate::common::{DEADLINE, Leaker, Want, Watch, has_rows, wait_until};

#[test]
fn exit_codes_of_list() {
    let mut leaker = Leaker::listening();
    assert_eq!(list_text(&leaker, &[]).code, Some(0));
    let leak = leaker.leak();
    assert_eq!(list_text(&leaker, &[]).code, Some(1));
    assert_eq!(list_text(&leaker, &["--pid", &std::process::id().to_string()]).code, Some(0));
    assert_eq!(list_text(&leaker, &["--no-such-option"]).code, Some(2));
    leaker.close(leak.fd());
    assert_eq!(list_text(&leaker, &[]).code, Some(0));
}

#[test]
fn a_signal_ends_watch_with_the_code_of_what_it_saw() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut leaker = Leaker::listening();
        let watch = Watch::start(&leaker, &[]);
        let (code, last) = watch.stop(signal);
        assert_eq!((code, last.unwrap().sockets.len()), (Some(0), 0), "{signal}");

        let mut watch = Watch::start(&leaker, &[]);
        let leak = leaker.leak();
        let rows = [Want::held(&leaker, &leak)];
        watch.wait_for("the leak", |report| has_rows(report, &rows));
        let (code, last) = watch.stop(signal);
        assert_eq!((code, last.unwrap().sockets.len()), (Some(1), 1), "{signal}");

        let mut watch = Watch::start(&leaker, &[]);
        leaker.close(leak.fd());
        watch.wait_for("no leak", |report| report.sockets.is_empty());
        let (code, _) = watch.stop(signal);
        assert_eq!(code, Some(0), "{signal}");
    }
}

/// A long interval must not keep a signal waiting for its end.
#[test]
fn a_signal_is_not_kept_waiting() {
    let leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let mut command = Command::new(binary());
    command.args(["watch", "--json", "--interval", "1h", "--netns", &netns]).stdin(Stdio::null());
    let mut watch = Running::start(&mut command);
    watch.line(DEADLINE).unwrap();
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.end(DEADLINE).code(), Some(0));
    assert_eq!(watch.stderr(), "");
}

/// The kernel's numbers of the programs that a process holds, as its fdinfo tells them.
fn numbers(pid: u32, field: &str) -> BTreeSet<u32> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let text = infos.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let number = |line: &str| line.strip_prefix(field).and_then(|rest| rest.trim().parse().ok());
    text.flat_map(|text| text.lines().filter_map(number).collect::<Vec<_>>()).collect()
}

#[test]
fn nothing_stays_in_the_kernel() {
    let mut leaker = Leaker::listening();
    leaker.leak();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let watch = Watch::start(&leaker, &[]);
        let programs = numbers(watch.process.pid(), "prog_id:");
        let links = numbers(watch.process.pid(), "link_id:");
        assert!(!programs.is_empty() && !links.is_empty(), "{programs:?} {links:?}");
        watch.stop(signal);
        wait_until("programs and links are gone", || {
            !ProgInfoIter::default().any(|program| programs.contains(&program.id))
                && !LinkInfoIter::default().any(|link| links.contains(&link.id))
        });
    }
}

#[test]
fn bare_sockleak_is_watch() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let netns = leaker.netns.to_string();
    let mut command = Command::new(binary());
    command.args(["--json", "--interval", INTERVAL, "--netns", &netns]).stdin(Stdio::null());
    let mut watch = Running::start(&mut command);
    for _ in 0..3 {
        let report = crate::common::Report::parse(&watch.line(DEADLINE).unwrap());
        assert!(has_rows(&report, &[Want::held(&leaker, &leak)]), "{report:#?}");
    }
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.end(DEADLINE).code(), Some(1));
}

#[test]
fn only_what_is_asked_for_is_said() {
    let leaker = Leaker::listening();
    let ran = sockleak(&["list", "--json", "--netns", &leaker.netns.to_string()]);
    assert_eq!(ran.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{ran:?}");
    assert_eq!(ran.stderr, "");
}
