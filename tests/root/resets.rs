//! Connections that were destroyed under the program, which still has the descriptor. `ss` and every
//! CLOSE_WAIT counter have lost sight of them.

use nix::libc;

use crate::common::{
    Conn, Kind, Leaker, Report, Row, Want, Watch, assert_rows, has_rows, list, not_possible,
};
use crate::destroy;

/// The rows of connections that were reset.
fn reset(leaker: &Leaker, conns: &[Conn]) -> Vec<Want> {
    let row = |conn| Want::held(leaker, conn).state("CLOSE").verdict("reset");
    conns.iter().map(row).collect()
}

/// The rows turn to `reset` under watch, a later run finds them too, and they go when closed.
fn follow(mut watch: Watch, leaker: &mut Leaker, conns: &[Conn]) {
    let rows = reset(leaker, conns);
    watch.wait_for("reset rows", |report| has_rows(report, &rows));
    assert_rows(&list(leaker, &[]), rows);
    leaker.close_all();
    // No transition tells of the close of a socket in CLOSE: it takes the next scan to see it.
    watch.wait_for("no rows", |report| has_rows(report, &[]));
    assert_rows(&list(leaker, &[]), []);
}

#[test]
fn by_the_peer() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    // In a process of its own: whoever shuts down one socket upon the end of file of another may be a relay.
    let mut peer = leaker.start_beside();
    let ends: Vec<_> = (0..3).map(|_| peer.connect(&listener.local)).collect();
    let conns = leaker.accept(3);
    let mut watch = Watch::start(&leaker, &[]);
    for end in &ends {
        peer.shutdown(end.fd());
    }
    watch.wait_for("three rows", |report| report.sockets.len() == 3);
    for end in &ends {
        peer.abort(end.fd());
    }
    follow(watch, &mut leaker, &conns);
}

#[test]
fn by_the_peer_before_the_start() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.abort(conn.peer());
    let report = list(&leaker, &[]);
    assert_rows(&report, reset(&leaker, &[conn]));
    assert_ne!(report.only_row().age_is, "exact", "nobody saw it happen");
}

#[test]
fn by_the_peer_over_ipv6() {
    let mut leaker = Leaker::start();
    leaker.listen("v6");
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.abort(conn.peer());
    assert_rows(&list(&leaker, &[]), reset(&leaker, &[conn]));
}

#[test]
fn with_two_holders_until_the_last_has_closed() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    let child = leaker.fork();
    let mut watch = Watch::start(&leaker, &[]);
    leaker.abort(conn.peer());
    let row = reset(&leaker, std::slice::from_ref(&conn)).remove(0);
    let both = [row.clone(), row.clone().pid(child)];
    watch.wait_for("two reset rows", |report| has_rows(report, &both));
    leaker.close(conn.fd());
    let heir = [row.pid(child)];
    watch.wait_for("the child's row", |report| has_rows(report, &heir));
}

/// Nobody has accepted it yet, and then somebody does.
#[test]
fn by_the_peer_while_it_waits_to_be_accepted() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let client = leaker.dial();
    leaker.shutdown(client.fd());
    let mut watch = Watch::start(&leaker, &[]);
    let queued = [Want::queued(&leaker, &client.other_end(), listener.fd)];
    watch.wait_for("a row in the queue", |report| has_rows(report, &queued));

    leaker.abort(client.fd());
    let still_queued = |report: &Report| {
        let is_it = |row: &Row| row.ownership == "listener" && row.pid == Some(leaker.pid);
        report.sockets.iter().map(|row| (&row.remote, is_it(row))).eq([(&client.local, true)])
    };
    assert!(still_queued(&list(&leaker, &[])), "it still waits");
    for _ in 0..4 {
        let report = watch.next();
        assert!(still_queued(&report), "it still waits: {report:#?}");
    }
    let accepted = leaker.accept(1);
    let rows = reset(&leaker, &accepted);
    assert_rows(&list(&leaker, &[]), rows.clone());
    watch.wait_for("a reset row", |report| has_rows(report, &rows));
}

/// What `ss -K` does.
#[test]
fn by_the_administrator() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let conns = leaker.plant(Kind::EofRead, 2);
    watch.wait_for("two rows", |report| report.sockets.len() == 2);
    for conn in &conns {
        match leaker.inside(|| destroy::socket(&conn.local, &conn.remote)) {
            Ok(()) => {}
            // A kernel that was built without CONFIG_INET_DIAG_DESTROY.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return not_possible("resets::by_the_administrator", error);
            }
            Err(error) => panic!("{conn:?}: {error}"),
        }
    }
    follow(watch, &mut leaker, &conns);
}

/// The peer has forgotten the connection, and answers the probe with a reset.
#[test]
fn by_a_keepalive_probe_to_a_peer_that_forgot() {
    let mut leaker = Leaker::listening();
    // How long a peer that has closed remembers.
    leaker.sysctl("ipv4/tcp_fin_timeout", "1").unwrap();
    let mut watch = Watch::start(&leaker, &[]);
    let conns = leaker.plant(Kind::EofRead, 2);
    for conn in &conns {
        leaker.keepalive(conn.fd());
    }
    watch.wait_for("two rows", |report| report.sockets.len() == 2);
    follow(watch, &mut leaker, &conns);
}

/// No answer comes at all.
#[test]
fn by_keepalive_probes_that_are_lost() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let conns = leaker.plant(Kind::EofRead, 2);
    watch.wait_for("two rows", |report| report.sockets.len() == 2);
    leaker.loopback("down");
    for conn in &conns {
        leaker.keepalive(conn.fd());
    }
    follow(watch, &mut leaker, &conns);
}

#[test]
fn a_close_is_no_reset() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    for kind in [Kind::EofRead, Kind::EofUnread, Kind::DataUnread(5)] {
        let conn = leaker.plant_one(kind);
        let linger = leaker.plant_one(kind);
        leaker.close(conn.fd());
        leaker.abort(linger.fd());
    }
    // This one shows that everything before it has been seen.
    let last = leaker.leak();
    let rows = [Want::held(&leaker, &last)];
    loop {
        let report = watch.next();
        let is_reset = |row: &&Row| row.verdict.as_deref() == Some("reset") || row.state == "CLOSE";
        assert_eq!(report.sockets.iter().find(is_reset).map(|row| &row.remote), None);
        if has_rows(&report, &rows) {
            break;
        }
    }
    assert_rows(&list(&leaker, &[]), rows);
}
