//! Connections whose peer has shut down its side and that are in use all the same, and those that are not.

use std::time::Duration;

use crate::common::{Conn, Kind, Leaker, Report, Watch, list, wait_until};

/// Sends a row now and then to a client that has shut down its side and reads.
fn trickle(leaker: &mut Leaker) -> Conn {
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.read_on(conn.peer(), 4096, Duration::ZERO);
    leaker.send_on(conn.fd(), 4, Duration::from_millis(50));
    conn
}

/// An answer of 8 MB lies in the send buffer, and the client is too slow for it, or has stopped reading. The end
/// that answers.
fn download(leaker: &mut Leaker, client_reads: bool) -> Conn {
    let listener = leaker.listen("v4");
    // A small window: what is acknowledged moves often. The client is the accepting side, which inherits it.
    leaker.receive_buffer(listener.fd, 8000);
    let client = leaker.plant_one(Kind::Established);
    let server = client.other_end();
    leaker.send_buffer(server.fd(), 32 << 20);
    leaker.shutdown(client.fd());
    leaker.await_eof(server.fd());
    leaker.send(server.fd(), 8 << 20);
    if client_reads {
        leaker.read_on(client.fd(), 4000, Duration::from_millis(25));
    }
    server
}

fn assert_no_leak(report: &Report) {
    assert!(report.complete, "{:?}", report.incomplete);
    assert!(report.sockets.is_empty(), "{report:#?}");
}

/// In use for `list`, which then calls it so where it is asked for, and for `watch` over some intervals.
fn assert_in_use(leaker: &Leaker, conn: &Conn) {
    assert_no_leak(&list(leaker, &[]));
    let listed = list(leaker, &["--state", "close-wait"]);
    assert_eq!(listed.kind(conn), Some(("in-use", "half-closed")), "{listed:#?}");
    let mut watch = Watch::start(leaker, &["--idle", "2s"]);
    watch.wait_for("the second look", |report| report.sockets.is_empty());
    for _ in 0..15 {
        assert_no_leak(&watch.next());
    }
}

#[test]
fn a_long_answer_in_small_pieces() {
    let mut leaker = Leaker::listening();
    let conn = trickle(&mut leaker);
    assert_in_use(&leaker, &conn);
}

#[test]
fn a_slow_download() {
    let mut leaker = Leaker::listening();
    let server = download(&mut leaker, true);
    assert_in_use(&leaker, &server);
}

#[test]
fn a_client_that_has_stopped_reading() {
    let mut leaker = Leaker::listening();
    let server = download(&mut leaker, false);
    let idle = ["--idle", "1s"];
    wait_until("nothing moves for a second", || list(&leaker, &idle).stranded("unsent") == 1);
    assert_no_leak(&list(&leaker, &idle));
    let report = list(&leaker, &["--idle", "1s", "--stranded"]);
    assert_eq!(report.kind(&server), Some(("stranded", "unsent")), "{report:#?}");
}

/// To have sent once is no use for ever.
#[test]
fn an_answer_that_has_ended() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &["--idle", "2s"]);
    let conn = leaker.plant_one(Kind::HalfClosed);
    let leaked =
        |report: &Report| report.complete && report.kind(&conn) == Some(("leaked", "eof-unread"));
    watch.wait_for("a leak from the start", leaked);
    leaker.send(conn.fd(), 10);
    watch.wait_for("a connection in use", |report| report.complete && report.sockets.is_empty());
    watch.wait_for("a leak again", leaked);
    assert!(leaked(&list(&leaker, &[])), "and for whoever comes later");
}
