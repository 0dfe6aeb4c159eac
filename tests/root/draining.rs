//! A slow reader of a finished peer is no leak.

use std::time::Duration;

use crate::common::{Conn, Kind, Leaker, Report, Watch, list, wait_until};

/// 2 MB wait in the receive buffer, the peer has gone, and the program reads slowly on.
fn drain_slowly(leaker: &mut Leaker) -> Conn {
    let listener = leaker.listen("v4");
    leaker.receive_buffer(listener.fd, 8 << 20);
    let conn = leaker.plant_one(Kind::Established);
    leaker.send_buffer(conn.peer(), 8 << 20);
    leaker.send(conn.peer(), 2 << 20);
    leaker.close(conn.peer());
    leaker.await_eof(conn.fd());
    leaker.read_on(conn.fd(), 1000, Duration::from_millis(20));
    conn
}

/// In use, for `list` and for `watch` over some intervals.
fn assert_draining(leaker: &Leaker, conn: &Conn, state: &str) {
    let empty = |report: &Report| report.complete && report.sockets.is_empty();
    let report = list(leaker, &[]);
    assert!(empty(&report), "{report:#?}");
    let listed = list(leaker, &["--state", state]);
    assert_eq!(listed.kind(conn), Some(("in-use", "draining")), "{listed:#?}");
    assert!(listed.row(conn).unread_bytes > Some(1 << 20), "{listed:#?}");
    let mut watch = Watch::start(leaker, &["--idle", "2s"]);
    watch.wait_for("the second look", empty);
    for _ in 0..15 {
        let report = watch.next();
        assert!(empty(&report), "{report:#?}");
    }
}

#[test]
fn in_close_wait() {
    let mut leaker = Leaker::listening();
    let conn = drain_slowly(&mut leaker);
    assert_draining(&leaker, &conn, "close-wait");
}

/// The program has shut down its side, too: all is over but the reading.
#[test]
fn in_close() {
    let mut leaker = Leaker::listening();
    let conn = drain_slowly(&mut leaker);
    leaker.shutdown(conn.fd());
    wait_until("the last acknowledgement", || {
        !list(&leaker, &["--state", "close"]).sockets.is_empty()
    });
    assert_draining(&leaker, &conn, "close");
}

/// Data that nobody reads is a leak, beside a reader.
#[test]
fn only_who_reads() {
    let mut leaker = Leaker::listening();
    drain_slowly(&mut leaker);
    let leak = leaker.plant_one(Kind::DataUnread(5));
    let report = list(&leaker, &[]);
    assert_eq!(report.only_row().remote, leak.remote);
    assert_eq!(report.kind(&leak), Some(("leaked", "data-unread")));
}
