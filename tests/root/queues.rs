//! Accept queues whose listener nobody shows, or many share, and what they do not take.

use std::collections::BTreeSet;

use crate::common::{Kind, Leaker, Report, Want, Watch, assert_rows, list, wait_until};

const STRANDED: [&str; 3] = ["--idle", "1s", "--stranded"];

/// The listener is in flight: what waits in its queue is nobody's, and in a queue all the same.
#[test]
fn a_listener_in_flight() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let queued = leaker.plant(Kind::NeverAccepted, 4);
    let waiting = leaker.dial();
    leaker.send_away(listener.fd);
    let row = |conn| Want::queued(&leaker, conn, listener.fd).ownerless("unknown");
    assert_rows(&list(&leaker, &[]), queued.iter().map(row));

    let waiting = waiting.other_end();
    wait_until("the fifth is idle", || list(&leaker, &STRANDED).rows(&waiting).len() == 1);
    let report = list(&leaker, &STRANDED);
    assert_eq!(report.kind(&waiting), Some(("stranded", "unaccepted")), "{report:#?}");
    assert_eq!(report.sockets.len(), 5, "{report:#?}");
}

/// Clients that have not given up yet.
#[test]
fn a_stuck_accept_loop() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let clients = [leaker.dial(), leaker.dial()];
    wait_until("both are idle", || list(&leaker, &["--idle", "1s"]).stranded("unaccepted") == 2);
    let quiet = list(&leaker, &["--idle", "1s"]);
    assert!(quiet.complete && quiet.sockets.is_empty(), "{quiet:#?}");
    let report = list(&leaker, &STRANDED);
    assert_eq!(report.sockets.len(), 2, "{report:#?}");
    for client in &clients {
        let row = report.row(&client.other_end());
        assert_eq!((row.kind(), row.state.as_str()), (("stranded", "unaccepted"), "ESTABLISHED"));
        assert_eq!((row.pid, row.ownership.as_str()), (Some(leaker.pid), "listener"));
        assert_eq!(row.fds, [listener.fd]);
    }
}

/// Rows of a report, or of all groups together.
fn count(leaker: &Leaker, options: &[&str]) -> u64 {
    let report = list(leaker, options);
    match options.contains(&"--group-by") {
        true => report.groups.iter().map(|group| group.count).sum(),
        false => report.sockets.len() as u64,
    }
}

#[test]
fn a_listener_that_eight_children_share() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let children: Vec<u32> = (0..8).map(|_| leaker.fork()).collect();
    let queued = leaker.plant(Kind::NeverAccepted, 100);
    let report = list(&leaker, &[]);
    assert_rows(&report, queued.iter().map(|conn| Want::queued(&leaker, conn, listener.fd)));
    let [queue] = &report.listeners[..] else { panic!("{:#?}", report.listeners) };
    assert_eq!((queue.pid, queue.backlog, queue.never_accepted), (Some(leaker.pid), 100, 100));
    assert_eq!(queue.holders.len(), 9, "{queue:#?}");
    let holders: BTreeSet<u64> =
        queue.holders.iter().filter_map(|holder| holder["pid"].as_u64()).collect();
    let pids = children.iter().chain([&leaker.pid]).map(|pid| u64::from(*pid));
    assert_eq!(holders, pids.collect());
    let leaked: u64 = report.processes.iter().map(|process| process.leaked).sum();
    assert_eq!(leaked, 0, "a queue takes no descriptor: {:#?}", report.processes);

    for by in ["verdict", "state", "process", "listener", "remote"] {
        assert_eq!(count(&leaker, &["--group-by", by]), 100, "by {by}");
    }
    for pid in [leaker.pid, children[3]] {
        assert_eq!(count(&leaker, &["--pid", &pid.to_string()]), 100, "of {pid}");
    }
}

/// A queue that fills does not bring its process nearer to its limit, and the next leak does.
#[test]
fn no_forecast_from_a_queue() {
    let mut leaker = Leaker::listening();
    leaker.limit(1024);
    let mut watch = Watch::start(&leaker, &[]);
    let forecast = |report: &Report, pid: u32| {
        report.process(pid).and_then(|process| process.exhausted_in_seconds)
    };
    for planted in 1..=12 {
        leaker.plant(Kind::NeverAccepted, 1);
        let report = watch.wait_for("one more", |report| report.sockets.len() == planted);
        assert_eq!(forecast(&report, leaker.pid), None, "{report:#?}");
    }
    wait_until("a forecast from what takes a descriptor", || {
        leaker.accept(1);
        leaker.plant(Kind::NeverAccepted, 1);
        forecast(&watch.next(), leaker.pid).is_some()
    });
}
