//! Connections that are ESTABLISHED and get nowhere.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::tool::list_text;
use crate::common::{Conn, Kind, Leaker, Ran, list, not_possible, wait_until};

const IDLE: [&str; 2] = ["--idle", "1s"];
const STRANDED: [&str; 3] = ["--idle", "1s", "--stranded"];

/// A peer has sent 4 MB, closed, and left the rest to its kernel: the FIN cannot arrive. The end that has to read.
fn behind_a_full_window(leaker: &mut Leaker) -> Conn {
    let conn = leaker.plant_one(Kind::Established);
    leaker.send_buffer(conn.peer(), 16 << 20);
    leaker.send(conn.peer(), 4 << 20);
    leaker.close(conn.peer());
    conn
}

#[test]
fn a_window_that_is_full() {
    let mut leaker = Leaker::listening();
    let conn = behind_a_full_window(&mut leaker);
    // A write-only client: its window is open.
    let open = leaker.plant_one(Kind::Established);
    leaker.send(open.peer(), 510);
    wait_until("a second without a packet", || list(&leaker, &IDLE).stranded("stalled") == 1);
    let quiet = list(&leaker, &IDLE);
    assert!(quiet.complete && quiet.sockets.is_empty(), "{quiet:#?}");

    let report = list(&leaker, &STRANDED);
    assert_eq!(report.kind(&conn), Some(("stranded", "stalled")), "{report:#?}");
    assert_eq!(report.rows(&open).len(), 0, "{report:#?}");
    let unread = report.row(&conn).unread_bytes.unwrap();
    assert!(unread > 10_000, "{report:#?}");
    assert_eq!(report.row(&conn).state, "ESTABLISHED");
    let shown = list_text(&leaker, &STRANDED);
    let line = shown.text().lines().find(|line| line.contains(&conn.remote)).unwrap();
    let verdict = format!("stalled {}K", unread / 1000);
    assert!(line.contains(&verdict), "{verdict} in {line}");

    let listed = list(&leaker, &["--state", "established"]);
    assert_eq!(listed.row(&conn).unread_bytes, Some(unread));
    assert_eq!(listed.row(&open).unread_bytes, Some(510));
}

/// Whoever reads is slow, but not stalled.
#[test]
fn a_slow_reader_of_a_living_peer() {
    let mut leaker = Leaker::listening();
    let conn = behind_a_full_window(&mut leaker);
    leaker.read_on(conn.fd(), 500, Duration::from_millis(100));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        let report = list(&leaker, &STRANDED);
        assert_eq!(report.rows(&conn).len(), 0, "{report:#?}");
    }
}

/// `ip` with these words, in the workload's network namespace.
fn ip(leaker: &Leaker, words: &str) -> Ran {
    leaker.inside(|| Ran::of(Command::new("ip").args(words.split_whitespace())))
}

/// Two workloads at the ends of a cable; None where this kernel has none.
fn cable(test: &str) -> Option<(Leaker, Leaker)> {
    let (near, far) = (Leaker::start(), Leaker::start());
    let ran = ip(&near, "link add near type veth peer name far");
    if ran.stderr.contains("Unknown device type") || ran.stderr.contains("not supported") {
        not_possible(test, format!("no veth devices: {}", ran.stderr));
        return None;
    }
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let moved = format!("link set far netns {}", far.pid);
    let steps = [
        (&near, moved.as_str()),
        (&near, "address add 10.99.0.1/24 dev near"),
        (&near, "link set near up"),
        (&far, "address add 10.99.0.2/24 dev far"),
        (&far, "link set far up"),
    ];
    for (leaker, words) in steps {
        let ran = ip(leaker, words);
        assert_eq!(ran.code, Some(0), "{words}: {ran:?}");
    }
    Some((near, far))
}

#[test]
fn a_peer_that_vanished() {
    let Some((mut near, mut far)) = cable("stalled::a_peer_that_vanished") else { return };
    let listener = near.listen("v4 4096 --at 10.99.0.1");
    let healthy = far.connect(&listener.local);
    let vanished = far.connect(&listener.local);
    near.accept(1);
    let conn = near.accept(1).remove(0);
    assert_eq!(conn.remote, vanished.local);
    assert_eq!(ip(&far, "link set far down").code, Some(0));
    // Only the one has data on the way.
    near.send(conn.fd(), 1000);
    wait_until("a second without an answer", || list(&near, &IDLE).stranded("unanswered") == 1);
    let quiet = list(&near, &IDLE);
    assert!(quiet.complete && quiet.sockets.is_empty(), "{quiet:#?}");
    let report = list(&near, &STRANDED);
    assert_eq!(report.kind(&conn), Some(("stranded", "unanswered")), "{report:#?}");
    assert_eq!(report.rows(&healthy.other_end()).len(), 0, "{report:#?}");
}

/// The same where no cable can be had: nothing arrives any more, and nothing is answered.
#[test]
fn a_loopback_that_is_down() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::Established);
    leaker.loopback("down");
    leaker.send(conn.fd(), 1000);
    wait_until("a second without an answer", || list(&leaker, &IDLE).stranded("unanswered") == 1);
    let report = list(&leaker, &STRANDED);
    assert_eq!(report.sockets.len(), 1, "{report:#?}");
    assert_eq!(report.kind(&conn), Some(("stranded", "unanswered")), "{report:#?}");
}
