//! Small programs with one bug each, in `tests/bugs`, and the verdict that `--explain` promises for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;
use sockleak::sock::leak::{Class, Verdict};

use crate::common::lines::Running;
use crate::common::{
    DEADLINE, Leaker, Watch, list, not_possible, slow_machine, sockleak, wait_until,
};

/// The programs of a verdict.
fn programs(verdict: Verdict) -> &'static [&'static str] {
    match verdict {
        Verdict::EofRead => &["read_of_zero", "left_by_its_event_loop", "body_small_after_close"],
        Verdict::EofUnread => &["idle_in_a_pool", "body_small"],
        Verdict::DataUnread => {
            &["worker_stuck", "body_large", "farewell_tls", "farewell_http", "farewell_ftp"]
        }
        Verdict::NeverAccepted => &["accept_blocked", "accept_out_of_descriptors"],
        Verdict::Reset => &["client_leaves_answer_unread", "keepalive_expired"],
        Verdict::Dead => &["reset_was_read", "shut_down_not_closed", "shut_down_after_peer"],
        Verdict::Unsent => &["unsent"],
        Verdict::Relayed => &["relay"],
        Verdict::HalfShut => &["half_shut"],
        Verdict::Stalled => &["body_huge"],
        Verdict::Unanswered => &["peer_vanished"],
        Verdict::Unaccepted => &["accept_blocked_client_waits"],
        Verdict::ConnectFailed => &["connect_refused", "connection_dissolved"],
        Verdict::Unconnected => &["socket_only"],
        Verdict::HalfClosed => &["half_closed"],
        Verdict::Draining => &["draining"],
        Verdict::Reserved => &["port_reserved"],
    }
}

/// What programs import.
const MODULES: [&str; 2] = ["ends", "body"];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "bugs"].iter().collect()
}

/// Emulated machines have neither Python nor the programs.
fn is_possible(test: &str) -> bool {
    let possible = !slow_machine() || folder().exists();
    if !possible {
        not_possible(test, "the programs are not there");
    }
    possible
}

/// A program that is in its condition. Its stdin keeps it there.
struct Bug {
    _process: Running,
    pid: u32,
    fds: Vec<i32>,
}

/// The line that it prints.
#[derive(Deserialize)]
struct Ready {
    pid: u32,
    fds: Vec<i32>,
}

impl Bug {
    /// Starts a program in the network namespace of `place`.
    fn start(place: &Leaker, program: &str) -> Self {
        let mut command = Command::new("python3");
        // Without -B it would leave compiled modules beside the programs.
        command.arg("-B").arg(folder().join(program).with_extension("py"));
        let mut process = place.inside(|| Running::start(command.stdin(Stdio::piped())));
        let line = process.line(2 * DEADLINE);
        let line = line.unwrap_or_else(|| panic!("{program} has ended: {}", process.stderr()));
        let Ready { pid, fds } = serde_json::from_slice(&line).unwrap();
        Self { _process: process, pid, fds }
    }
}

/// What `list` says of the sockets of one process.
#[derive(Debug, Deserialize)]
struct Row {
    pid: Option<u32>,
    fds: Vec<i32>,
    class: String,
    verdict: Option<String>,
    maybe_farewell: Option<bool>,
}

#[derive(Deserialize)]
struct Rows {
    complete: bool,
    sockets: Vec<Row>,
}

/// The rows of a program, from a report that is complete.
fn rows(place: &Leaker, bug: &Bug, options: &[&str]) -> Vec<Row> {
    let netns = place.netns.to_string();
    let ran = sockleak(&[&["list", "--json", "--netns", &netns][..], options].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let Rows { complete, sockets } = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(complete, "{ran:?}");
    sockets.into_iter().filter(|row| row.pid == Some(bug.pid)).collect()
}

/// Whether each of the program's sockets has one row with this verdict, and no other has one.
fn are(rows: &[Row], bug: &Bug, verdict: Verdict) -> bool {
    let named: BTreeSet<_> = rows.iter().map(|row| &row.fds[..]).collect();
    let wanted: BTreeSet<_> = bug.fds.chunks(1).collect();
    named == wanted
        && rows.len() == wanted.len()
        && rows.iter().all(|row| row.verdict.as_deref() == Some(verdict.name()))
}

/// Runs the programs of a verdict.
fn show(verdict: Verdict) {
    if !is_possible(&format!("bugs::{verdict}")) {
        return;
    }
    for program in programs(verdict) {
        let place = Leaker::start();
        let bug = Bug::start(&place, program);
        let by_default = rows(&place, &bug, &[]);
        match verdict.class() {
            Class::Leaked => {
                assert!(are(&by_default, &bug, verdict), "{program}: {by_default:#?}");
                assert!(by_default.iter().all(|row| row.class == "leaked"), "{by_default:#?}");
            }
            Class::Stranded => {
                assert!(by_default.is_empty(), "{program}: {by_default:#?}");
                wait_until(&format!("{program} to be {verdict}"), || {
                    let rows = rows(&place, &bug, &["--stranded", "--idle", "1s"]);
                    are(&rows, &bug, verdict) && rows.iter().all(|row| row.class == "stranded")
                });
            }
            Class::InUse => {
                assert!(by_default.is_empty(), "{program}: {by_default:#?}");
                let all = rows(&place, &bug, &["--state", "all"]);
                assert!(are(&all, &bug, verdict), "{program}: {all:#?}");
                assert!(all.iter().all(|row| row.class == "in-use"), "{all:#?}");
            }
        }
        let is_farewell = program.starts_with("farewell");
        let says_so = by_default.iter().all(|row| row.maybe_farewell == Some(true));
        assert!(by_default.is_empty() || says_so == is_farewell, "{program}: {by_default:#?}");
    }
}

#[test]
fn eof_read() {
    show(Verdict::EofRead);
}

#[test]
fn eof_unread() {
    show(Verdict::EofUnread);
}

#[test]
fn data_unread() {
    show(Verdict::DataUnread);
}

#[test]
fn never_accepted() {
    show(Verdict::NeverAccepted);
}

#[test]
fn reset() {
    show(Verdict::Reset);
}

#[test]
fn dead() {
    show(Verdict::Dead);
}

#[test]
fn unsent() {
    show(Verdict::Unsent);
}

#[test]
fn half_shut() {
    show(Verdict::HalfShut);
}

#[test]
fn stalled() {
    show(Verdict::Stalled);
}

#[test]
fn unanswered() {
    show(Verdict::Unanswered);
}

#[test]
fn unaccepted() {
    show(Verdict::Unaccepted);
}

#[test]
fn connect_failed() {
    show(Verdict::ConnectFailed);
}

#[test]
fn unconnected() {
    show(Verdict::Unconnected);
}

#[test]
fn half_closed() {
    show(Verdict::HalfClosed);
}

#[test]
fn draining() {
    show(Verdict::Draining);
}

#[test]
fn reserved() {
    show(Verdict::Reserved);
}

/// Only `watch` sees both halves. `list` calls the clients' side by what the proxy has read, and the
/// backends' side by the same name as `watch`.
#[test]
fn relayed() {
    if !is_possible("bugs::relayed") {
        return;
    }
    let place = Leaker::start();
    let mut watch = Watch::start(&place, &["--stranded", "--idle", "1s"]);
    let bug = Bug::start(&place, programs(Verdict::Relayed)[0]);
    let (fronts, backs) = bug.fds.split_at(bug.fds.len() / 2);
    let verdicts = |report: &crate::common::Report, fds: &[i32]| -> Vec<String> {
        let of_program = report.sockets.iter().filter(|row| row.pid == Some(bug.pid));
        let of_fds = of_program.filter(|row| row.fds.iter().all(|fd| fds.contains(fd)));
        of_fds.map(|row| row.verdict.clone().unwrap_or_default()).collect()
    };
    let report = watch.wait_for("both halves", |report| {
        let (front, back) = (verdicts(report, fronts), verdicts(report, backs));
        (front.len(), back.len()) == (fronts.len(), backs.len())
            && back.iter().all(|verdict| verdict == "half-shut")
    });
    let front = verdicts(&report, fronts);
    assert!(front.iter().any(|verdict| verdict == "relayed"), "{report:#?}");
    // A proxy that was too slow once looks like a program that forgot to close.
    let is_known = |verdict: &String| verdict == "relayed" || verdict == "eof-read";
    assert!(front.iter().all(is_known), "{report:#?}");

    let report = list(&place, &[]);
    assert_eq!(verdicts(&report, fronts), vec!["eof-read"; fronts.len()], "{report:#?}");
    assert_eq!(verdicts(&report, backs), Vec::<String>::new(), "{report:#?}");
}

/// The other end of a half-shut socket is a leak, in the hands of the peer.
#[test]
fn half_shut_leaks_at_the_peer() {
    if !is_possible("bugs::half_shut_leaks_at_the_peer") {
        return;
    }
    let place = Leaker::start();
    let bug = Bug::start(&place, programs(Verdict::HalfShut)[0]);
    let report = list(&place, &[]);
    let row = report.only_row();
    assert_ne!(row.pid, Some(bug.pid), "{row:#?}");
    assert_eq!(row.verdict.as_deref(), Some("eof-unread"), "{row:#?}");
}

#[test]
fn every_program_is_run() {
    if !is_possible("bugs::every_program_is_run") {
        return;
    }
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let is_program = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "py");
    let there: BTreeSet<String> = files
        .filter(is_program)
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !MODULES.contains(&name.as_str()))
        .collect();
    let run = Verdict::ALL.into_iter().flat_map(programs).map(|name| (*name).to_owned());
    assert_eq!(there, run.collect());
}
