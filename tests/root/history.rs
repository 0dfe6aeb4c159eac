//! What a socket can tell of its past: who began, how much came and went, and who held it before.

use crate::common::tool::list_text;
use crate::common::{Kind, Leaker, Report, Watch, list};

#[test]
fn who_began() {
    let mut leaker = Leaker::listening();
    let accepted = leaker.leak();
    let connected = leaker.plant_one(Kind::LeftByServer);
    leaker.unconnected();
    let report = list(&leaker, &["--stranded"]);
    let direction = |conn| report.row(conn).direction.as_deref();
    assert_eq!(direction(&accepted), Some("accepted"), "{report:#?}");
    // It need not be known of a socket that was there before us; to say the opposite is wrong.
    assert_ne!(direction(&connected), Some("accepted"), "{report:#?}");
    let neither = report.sockets.iter().find(|row| row.verdict.as_deref() == Some("unconnected"));
    assert_eq!(neither.unwrap().direction, None, "{report:#?}");
}

/// A SYN_SENT that was seen tells who began.
#[test]
fn who_began_under_watch() {
    let mut leaker = Leaker::listening();
    let states = "syn-sent,established,close-wait";
    let mut watch = Watch::start(&leaker, &["--state", states]);
    let accepted = leaker.leak();
    let connected = leaker.plant_one(Kind::LeftByServer);
    let report = watch.wait_for("both", |report| report.sockets.len() == 2);
    assert_eq!(report.row(&accepted).direction.as_deref(), Some("accepted"), "{report:#?}");
    assert_eq!(report.row(&connected).direction.as_deref(), Some("connected"), "{report:#?}");
}

/// The peer's FIN is no byte of its data.
#[test]
fn how_much_came_and_went() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::Established);
    leaker.send(conn.peer(), 300);
    leaker.read(conn.fd(), 300);
    leaker.send(conn.fd(), 1000);
    leaker.read(conn.peer(), 1000);
    leaker.close(conn.peer());
    leaker.await_eof(conn.fd());
    let report = list(&leaker, &[]);
    let row = report.row(&conn);
    assert_eq!((row.bytes_received, row.bytes_acked), (Some(300), Some(1000)), "{row:#?}");
}

#[test]
fn who_never_read_anything() {
    const NEVER: &str = "never read anything";
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::Established);
    leaker.send(conn.peer(), 5000);
    leaker.read(conn.fd(), 100);
    leaker.close(conn.peer());
    leaker.await_eof(conn.fd());
    assert!(!list_text(&leaker, &[]).text().contains(NEVER));
    leaker.plant_one(Kind::DataUnread(5000));
    let ran = list_text(&leaker, &[]);
    assert!(ran.text().contains(NEVER), "{}", ran.text());
}

#[test]
fn who_held_it_before() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let leak = leaker.leak();
    watch.wait_for("its first holder", |report| report.sockets.len() == 1);
    let child = leaker.fork();
    let report = watch.wait_for("its heir", |report| report.rows(&leak).len() == 2);
    let inherited = |report: &Report, pid| {
        let rows = report.rows(&leak);
        rows.iter().find(|row| row.pid == Some(pid)).unwrap().inherited.is_some()
    };
    assert!(inherited(&report, child) && !inherited(&report, leaker.pid), "{report:#?}");
    // Whoever comes later has not seen it.
    let report = list(&leaker, &[]);
    assert!(report.sockets.iter().all(|row| row.inherited.is_none()), "{report:#?}");
}
