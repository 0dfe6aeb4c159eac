//! Connections that ended from ESTABLISHED, without a FIN of the peer's, or by both sides: the descriptor is all
//! that is left of them.

use crate::common::{Conn, Kind, Leaker, Want, Watch, assert_rows, has_rows, list, wait_until};

/// The client leaves while the answer is still in its receive buffer: its kernel sends RST.
fn answered_and_left(leaker: &mut Leaker) -> Conn {
    let conn = leaker.plant_one(Kind::Established);
    leaker.send(conn.fd(), 6);
    leaker.await_data(conn.peer());
    leaker.close(conn.peer());
    leaker.await_end(conn.fd());
    conn
}

fn row(leaker: &Leaker, conn: &Conn, verdict: &str) -> Want {
    Want::held(leaker, conn).state("CLOSE").verdict(verdict)
}

#[test]
fn clients_that_leave_with_the_answer_unread() {
    let mut leaker = Leaker::listening();
    let unseen: Vec<_> = (0..4).map(|_| answered_and_left(&mut leaker)).collect();
    let seen: Vec<_> = (0..2).map(|_| answered_and_left(&mut leaker)).collect();
    for conn in &seen {
        let error = leaker.fetch_error(conn.fd());
        assert!(error.contains("os error 104"), "ECONNRESET was to come: {error}");
    }
    let wants = unseen.iter().map(|conn| row(&leaker, conn, "reset"));
    let wants = wants.chain(seen.iter().map(|conn| row(&leaker, conn, "dead")));
    let report = list(&leaker, &[]);
    assert_rows(&report, wants);
    assert!(report.sockets.iter().all(|row| row.class == "leaked"), "{report:#?}");
    assert_eq!(report.process(leaker.pid).unwrap().leaked, 6);
}

#[test]
fn under_watch_they_have_exact_ages() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let conns: Vec<_> = (0..3).map(|_| answered_and_left(&mut leaker)).collect();
    let rows: Vec<_> = conns.iter().map(|conn| row(&leaker, conn, "reset")).collect();
    let report = watch.wait_for("three resets", |report| has_rows(report, &rows));
    assert!(report.all_ages_are("exact"), "{report:#?}");
    leaker.close_all();
    watch.wait_for("no rows", |report| has_rows(report, &[]));
}

/// SO_LINGER with 0 seconds: a RST, and nothing before it.
#[test]
fn a_client_that_aborts() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::Established);
    leaker.abort(conn.peer());
    leaker.await_end(conn.fd());
    assert_rows(&list(&leaker, &[]), [row(&leaker, &conn, "reset")]);
}

#[test]
fn shut_down_by_both_sides() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::Established);
    leaker.shutdown_both(conn.fd());
    leaker.await_eof(conn.peer());
    leaker.shutdown_both(conn.peer());
    let wants = [row(&leaker, &conn, "dead"), row(&leaker, &conn.other_end(), "dead")];
    wait_until("both ends are closed", || {
        list(&leaker, &["--state", "close"]).sockets.len() == wants.len()
    });
    assert_rows(&list(&leaker, &[]), wants);
}

/// Data that nobody reads makes no difference.
#[test]
fn shut_down_with_data_unread() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::DataUnread(5));
    leaker.shutdown_both(conn.fd());
    let want = row(&leaker, &conn, "dead").unread(5);
    wait_until("the last acknowledgement", || {
        list(&leaker, &["--state", "close"]).sockets.len() == 1
    });
    assert_rows(&list(&leaker, &[]), [want]);
}
