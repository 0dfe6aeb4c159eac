//! An idle connection's goodbye: few bytes that its server sent before it closed.

use crate::common::tool::list_text;
use crate::common::{Conn, Kind, Leaker, list};

/// A client that was answered once, and then idle; its server sends `farewell` bytes more and closes.
fn left_with(leaker: &mut Leaker, farewell: usize) -> Conn {
    let conn = leaker.plant_one(Kind::Established);
    leaker.send(conn.peer(), 100);
    leaker.read(conn.fd(), 100);
    leaker.send(conn.peer(), farewell);
    leaker.close(conn.peer());
    leaker.await_eof(conn.fd());
    conn
}

/// TLS close_notify of 1.2 and 1.3, HTTP 408, FTP 421, GOAWAY with close_notify.
const FAREWELLS: [usize; 5] = [24, 31, 233, 14, 77];

#[test]
fn few_bytes_after_an_exchange_may_be_one() {
    let mut leaker = Leaker::listening();
    let left = FAREWELLS.map(|bytes| (bytes, left_with(&mut leaker, bytes)));
    let long = left_with(&mut leaker, 2000);
    let only = leaker.plant_one(Kind::DataUnread(5));
    let report = list(&leaker, &[]);
    assert_eq!(report.sockets.len(), left.len() + 2, "{report:#?}");
    for (bytes, conn) in &left {
        let row = report.row(conn);
        assert_eq!(row.kind(), ("leaked", "data-unread"), "{row:#?}");
        assert_eq!((row.unread_bytes, row.maybe_farewell), (Some(*bytes as u64), true), "{row:#?}");
    }
    for (conn, why) in [(&long, "a body"), (&only, "all that ever came")] {
        let row = report.row(conn);
        assert_eq!((row.verdict.as_deref(), row.maybe_farewell), (Some("data-unread"), false));
        assert!(!row.maybe_farewell, "{why}: {row:#?}");
    }
}

#[test]
fn the_text_speaks_of_it() {
    let mut leaker = Leaker::listening();
    let only = leaker.plant_one(Kind::DataUnread(5));
    let speaks = |leaker: &Leaker| list_text(leaker, &[]).text().contains("idle connection");
    assert!(!speaks(&leaker), "nothing but 5 bytes ever came");
    leaker.close(only.fd());
    left_with(&mut leaker, 24);
    assert!(speaks(&leaker), "{}", list_text(&leaker, &[]).text());
}
