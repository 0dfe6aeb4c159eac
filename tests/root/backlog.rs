//! Connections that nobody accepts: they have no descriptor, their listener has.

use crate::common::{Kind, Leaker, Want, Watch, assert_rows, has_helper, has_rows, list};

#[test]
fn a_listener_out_of_descriptors() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4 128");
    let limit = leaker.use_up_descriptors();
    leaker.visit(&listener, 50);
    let mut watch = Watch::start(&leaker, &[]);
    let report = watch.wait_for("50 rows", |report| report.sockets.len() == 50);
    assert!(report.complete, "{:?}", report.incomplete);
    for row in &report.sockets {
        assert_eq!((row.pid, &row.fds), (Some(leaker.pid), &vec![listener.fd]));
        assert_eq!((row.ownership.as_str(), row.state.as_str()), ("listener", "CLOSE_WAIT"));
        assert_eq!(row.verdict.as_deref(), Some("never-accepted"));
        assert_eq!((row.netns, &row.local), (leaker.netns, &listener.local));
        assert_eq!(row.comm.as_deref(), Some("leaker"));
    }
    let [queue] = &report.listeners[..] else { panic!("{:#?}", report.listeners) };
    assert_eq!((queue.pid, &queue.fds), (Some(leaker.pid), &vec![listener.fd]));
    assert_eq!((queue.netns, &queue.local), (leaker.netns, &listener.local));
    assert_eq!((queue.backlog, queue.max_backlog, queue.never_accepted), (50, 128, 50));
    assert_eq!(queue.comm.as_deref(), Some("leaker"));
    let process = report.process(leaker.pid).unwrap();
    assert_eq!(process.fd_limit, Some(limit as u64));

    leaker.limit(1024);
    let accepted = leaker.accept(50);
    let rows: Vec<_> =
        accepted.iter().map(|conn| Want::held(&leaker, conn).verdict("eof-unread")).collect();
    let report = watch.wait_for("ordinary rows", |report| has_rows(report, &rows));
    assert!(report.listeners.is_empty(), "{:#?}", report.listeners);
}

#[test]
fn queued_under_watch() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let mut watch = Watch::start(&leaker, &[]);
    let queued = leaker.plant(Kind::NeverAccepted, 10);
    let rows: Vec<_> = queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)).collect();
    watch.wait_for("ten queued", |report| has_rows(report, &rows));
    let accepted = leaker.accept(4);
    let row = |conn| Want::held(&leaker, conn).verdict("eof-unread");
    let rows: Vec<_> = accepted.iter().map(row).chain(rows[4..].to_vec()).collect();
    watch.wait_for("four accepted, six queued", |report| has_rows(report, &rows));
}

#[test]
fn ipv6_and_v4_mapped() {
    for family in ["v6", "dual"] {
        let mut leaker = Leaker::start();
        let listener = leaker.listen(family);
        let queued = leaker.plant(Kind::NeverAccepted, 3);
        let report = list(&leaker, &[]);
        assert_rows(&report, queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)));
        assert_eq!(report.listeners[0].local, listener.local);
    }
}

/// The kernel hands the records of one file to the reader at once, in 32 KiB at first.
#[test]
fn a_long_queue_is_shown_whole() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4 1000");
    let queued = leaker.plant(Kind::NeverAccepted, 700);
    let report = list(&leaker, &[]);
    assert_rows(&report, queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)));
    let queue = &report.listeners[0];
    assert_eq!((queue.backlog, queue.max_backlog, queue.never_accepted), (700, 1000, 700));
}

/// Longer than a walk can be where BPF programs have no loops, which has to be said there, and only there.
#[test]
fn a_very_long_queue_is_never_cut_in_silence() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4 4000");
    let queued = leaker.plant(Kind::NeverAccepted, 3000);
    let report = list(&leaker, &[]);
    assert_eq!(report.listeners[0].backlog, 3000);
    if has_helper("bpf_loop") {
        assert_rows(&report, queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)));
    } else {
        assert!(!report.complete && !report.incomplete.is_empty(), "{:?}", report.incomplete);
        let with_listener = report.sockets.iter().filter(|row| row.ownership == "listener");
        assert_eq!(with_listener.count(), 1024);
    }
}

#[test]
fn live_connections_in_a_queue_are_no_leaks() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let queued = leaker.plant(Kind::NeverAccepted, 1);
    leaker.dial();
    let report = list(&leaker, &[]);
    assert_rows(&report, queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)));
    assert_eq!(report.listeners[0].never_accepted, 1);
}
