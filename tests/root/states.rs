//! Sockets that are stranded in other states than CLOSE_WAIT.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::common::tool::sockleak;
use crate::common::{
    Conn, Kind, Leaker, Want, Watch, assert_rows, has_rows, list, need_root, wait_until,
};

fn row(leaker: &Leaker, conn: &Conn, state: &str) -> Want {
    Want::held(leaker, conn).state(state).verdict(None)
}

#[test]
fn established_both_ends() {
    let mut leaker = Leaker::listening();
    leaker.leak();
    let conn = leaker.plant_one(Kind::Established);
    let report = list(&leaker, &["--state", "established"]);
    let wants =
        [row(&leaker, &conn, "ESTABLISHED"), row(&leaker, &conn.other_end(), "ESTABLISHED")];
    assert_rows(&report, wants);
    assert!(report.sockets.iter().all(|row| row.idle_seconds.is_some()), "{report:#?}");
}

#[test]
fn idle_connections_by_their_age() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::Established, 2);
    let idle = |min_age: &str| {
        let report = list(&leaker, &["--state", "established", "--min-age", min_age]);
        report.sockets.len()
    };
    assert_eq!(idle("1h"), 0);
    wait_until("four ends idle for 300 ms", || idle("300ms") == 4);
}

#[test]
fn fin_wait_2() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    let wants = [row(&leaker, &conn.other_end(), "FIN_WAIT2")];
    wait_until("the end of file is acknowledged", || {
        has_rows(&list(&leaker, &["--state", "fin-wait-2"]), &wants)
    });
}

#[test]
fn several_states_at_once() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    let wants = [
        Want::held(&leaker, &conn).verdict("eof-unread"),
        row(&leaker, &conn.other_end(), "FIN_WAIT2"),
    ];
    wait_until("both ends", || {
        has_rows(&list(&leaker, &["--state", "fin-wait-2,close-wait"]), &wants)
    });
}

/// The peer's answers are lost, and the program has not closed its descriptor.
#[test]
fn last_ack() {
    let mut leaker = Leaker::listening();
    let conn = leaker.leak();
    leaker.loopback("down");
    leaker.shutdown(conn.fd());
    let report = list(&leaker, &["--state", "last-ack"]);
    assert_rows(&report, [row(&leaker, &conn, "LAST_ACK")]);
    assert_rows(&list(&leaker, &[]), []);
}

/// A full queue swallows what comes.
#[test]
fn syn_sent() {
    let mut leaker = Leaker::start();
    leaker.listen("v4 0");
    leaker.plant(Kind::NeverAccepted, 1);
    let stuck = leaker.dial();
    let mut watch = Watch::start(&leaker, &["--state", "syn-sent"]);
    let also_stuck = leaker.dial();
    let wants = [row(&leaker, &stuck, "SYN_SENT"), row(&leaker, &also_stuck, "SYN_SENT")];
    watch.wait_for("two that connect", |report| has_rows(report, &wants));
    leaker.close(stuck.fd());
    watch.wait_for("one", |report| has_rows(report, &wants[1..]));
}

#[test]
fn close() {
    let mut leaker = Leaker::listening();
    leaker.leak();
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.abort(conn.peer());
    let report = list(&leaker, &["--state", "close"]);
    let wants = [Want::held(&leaker, &conn).state("CLOSE").verdict("reset")];
    assert_rows(&report, wants);
}

#[test]
fn listen() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let report = list(&leaker, &["--state", "listen"]);
    let row = report.only_row();
    assert_eq!((row.state.as_str(), &row.local), ("LISTEN", &listener.local));
    assert_eq!((row.pid, &row.fds), (Some(leaker.pid), &vec![listener.fd]));
}

#[test]
fn all() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let live = leaker.plant_one(Kind::Established);
    let report = list(&leaker, &["--state", "all"]);
    let state_of = |conn: &Conn| {
        let is_it =
            |row: &&crate::common::Row| row.local == conn.local && row.remote == conn.remote;
        let rows: Vec<_> = report.sockets.iter().filter(is_it).collect();
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!((rows[0].pid, &rows[0].fds), (Some(leaker.pid), &vec![conn.fd()]));
        rows[0].state.clone()
    };
    assert_eq!(state_of(&leak), "CLOSE_WAIT");
    assert_eq!(state_of(&live), "ESTABLISHED");
    assert_eq!(state_of(&live.other_end()), "ESTABLISHED");
    let listening = report.sockets.iter().filter(|row| row.state == "LISTEN").count();
    assert_eq!(listening, 1);
}

/// Raw sockets can have TCP's number, and a protocol of netlink's has it (where there is IPsec).
#[test]
fn what_only_looks_like_tcp() {
    need_root();
    let open = |family| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp);
    let raw = open(AddressFamily::Inet).expect("root may open it");
    let fakes: Vec<OwnedFd> = [raw].into_iter().chain(open(AddressFamily::Netlink)).collect();
    let pid = process::id().to_string();
    let report = sockleak(&["list", "--json", "--state", "all", "--pid", &pid]).report();
    for fd in fakes.iter().map(AsRawFd::as_raw_fd) {
        assert!(report.sockets.iter().all(|row| !row.fds.contains(&fd)), "{fd}: {report:#?}");
    }
}
