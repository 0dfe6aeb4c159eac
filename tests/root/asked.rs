//! Who was asked for: names in full, and filters that can match nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary, list_text, sockleak};
use crate::common::{DEADLINE, Kind, Leaker, Report, list, not_possible};

#[test]
fn a_filter_that_can_match_nothing_is_a_usage_error() {
    let mut leaker = Leaker::listening();
    leaker.threads(1);
    let threads = std::fs::read_dir(format!("/proc/{}/task", leaker.pid)).unwrap();
    let thread = threads
        .map(|thread| thread.unwrap().file_name().into_string().unwrap())
        .find(|thread| *thread != leaker.pid.to_string())
        .unwrap();
    // A child that nobody waits for.
    let mut child = Command::new("true").spawn().unwrap();
    let zombie = child.id().to_string();
    crate::common::wait_until("a zombie", || {
        let status = std::fs::read_to_string(format!("/proc/{zombie}/status")).unwrap();
        status.contains("State:\tZ")
    });
    for (option, value, word) in [
        ("--comm", "leaker,no-such-program-anywhere", "no-such-program-anywhere"),
        ("--pid", "2147483647", "no such process"),
        ("--pid", &thread, "thread of process"),
        ("--pid", &zombie, "zombie"),
        ("--netns", "7", "no such network namespace"),
    ] {
        // Before 6.1 no program lists network namespaces, and a number cannot be wrong.
        if option == "--netns" && !Path::new("/proc/sys/net/ipv4/tcp_child_ehash_entries").exists()
        {
            not_possible("asked::a_network_namespace_that_does_not_exist", "they are not listed");
            continue;
        }
        let ran = list_text(&leaker, &[option, value]);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{option} {value}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains(option) && ran.stderr.contains(word), "{ran:?}");
    }
    child.wait().unwrap();
}

#[test]
fn who_may_yet_come_is_a_note_in_watch() {
    let leaker = Leaker::listening();
    let mut command = Command::new(binary());
    command.args(["watch", "--json", "--pid", "2147483647"]).stdin(Stdio::null());
    let mut watch = Running::start(command.args(["--netns", &leaker.netns.to_string()]));
    assert!(watch.line(DEADLINE).is_some(), "{}", watch.stderr());
    assert!(watch.stderr().contains("there is no such process"), "{}", watch.stderr());
}

/// The kernel cuts a name after 15 bytes.
#[test]
fn by_the_name_of_the_executable() {
    let mut leaker = Leaker::start_named(b"another-name");
    leaker.listen("v4");
    leaker.plant(Kind::EofRead, 2);
    for name in ["another-name", "leaker"] {
        assert_eq!(list(&leaker, &["--comm", name]).sockets.len(), 2, "{name}");
        assert_eq!(list(&leaker, &["--not", &format!("comm={name}")]).sockets.len(), 0, "{name}");
    }
}

/// A leak of unknown owner concerns only processes that live in its network namespace.
#[test]
fn an_unknown_owner_concerns_the_processes_beside_it() {
    let mut elsewhere = Leaker::listening();
    elsewhere.leak();
    let mut beside = Leaker::listening();
    let leak = beside.leak();
    beside.send_away(leak.fd());
    for (leaker, reasons) in [(&elsewhere, &[][..]), (&beside, &["owners-unknown"])] {
        let pid = leaker.pid.to_string();
        let report = sockleak(&["list", "--json", "--pid", &pid]).report();
        assert_eq!(report.reasons(), reasons, "{report:#?}");
        let mut command = Command::new(binary());
        command.args(["watch", "--json", "--interval", INTERVAL, "--pid", &pid]);
        command.args(["--scan-budget", "100%"]).stdin(Stdio::null());
        let mut watch = Running::start(&mut command);
        for _ in 0..3 {
            let report = Report::parse(&watch.line(DEADLINE).unwrap());
            assert_eq!(report.reasons(), reasons, "{report:#?}");
        }
    }
}
