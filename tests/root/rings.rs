//! Sockets that only an io_uring's table of direct descriptors refers to, and reset ones that nothing shows.

use std::fs;

use crate::common::tool::sockleak;
use crate::common::{
    Conn, Kind, Leaker, Report, Slot, Want, assert_rows, has_rows, list, wait_until,
};

/// Whether this kernel lists which sockets are in a ring's table; older ones have only a name for each.
fn names_inodes(leaker: &Leaker, slot: Slot) -> bool {
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", leaker.pid, slot.ring_fd)).unwrap();
    let table = info.split_once("UserFiles:").unwrap_or_else(|| panic!("no table: {info}")).1;
    let line = table.lines().find(|line| line.trim().starts_with(&format!("{}:", slot.ring_slot)));
    line.unwrap_or_else(|| panic!("no slot {}: {info}", slot.ring_slot)).contains("socket:[")
}

/// The row of a socket in a slot, where that can be known.
fn in_slot(leaker: &Leaker, conn: &Conn) -> Want {
    Want::held(leaker, conn).fds([])
}

fn assert_slot(report: &Report, conn: &Conn, slot: Slot) {
    let row = report.row(conn);
    assert_eq!((row.ring_fd, row.ring_slot), (Some(slot.ring_fd), Some(slot.ring_slot)));
}

/// Without the inode the holder is unknown, and who asks for this process's leaks has no whole answer.
fn assert_unknown(leaker: &Leaker, conn: &Conn) {
    assert_rows(&list(leaker, &[]), [Want::held(leaker, conn).ownerless("unknown")]);
    let ran = sockleak(&["list", "--json", "--pid", &leaker.pid.to_string()]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(!ran.report().complete, "{ran:?}");
}

#[test]
fn a_leak_in_a_slot() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let plain = leaker.leak();
    let Some(slot) = leaker.install(leak.fd(), "rings::a_leak_in_a_slot") else { return };
    if !names_inodes(&leaker, slot) {
        leaker.close(plain.fd());
        return assert_unknown(&leaker, &leak);
    }
    let report = list(&leaker, &[]);
    assert_rows(&report, [in_slot(&leaker, &leak), Want::held(&leaker, &plain)]);
    assert_slot(&report, &leak, slot);
    let row = report.row(&plain);
    assert_eq!((row.ring_fd, row.ring_slot), (None, None));
    let of_process = list(&leaker, &["--pid", &leaker.pid.to_string()]);
    assert_eq!(of_process.sockets.len(), 2, "{of_process:#?}");
}

/// It is in no hash table, and no descriptor shows it.
#[test]
fn a_reset_connection_in_a_slot() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    let Some(slot) = leaker.install(conn.fd(), "rings::a_reset_connection_in_a_slot") else {
        return;
    };
    leaker.abort(conn.peer());
    if !names_inodes(&leaker, slot) {
        // What cannot be found is at least not said to be absent.
        let pid = leaker.pid.to_string();
        return wait_until("an answer that knows its limits", || {
            sockleak(&["list", "--json", "--pid", &pid]).code == Some(4)
        });
    }
    let want = [in_slot(&leaker, &conn).state("CLOSE").verdict("reset")];
    wait_until("the reset", || has_rows(&list(&leaker, &[]), &want));
    assert_slot(&list(&leaker, &[]), &conn, slot);
}

/// A listener that only a ring's table refers to.
#[test]
fn a_queue_behind_a_slot() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let queued = leaker.plant(Kind::NeverAccepted, 4);
    if leaker.install(listener.fd, "rings::a_queue_behind_a_slot").is_none() {
        return;
    }
    let report = list(&leaker, &[]);
    assert_eq!(report.sockets.len(), 4, "{report:#?}");
    for conn in &queued {
        assert_eq!(report.kind(conn), Some(("leaked", "never-accepted")), "{report:#?}");
        let pid = report.row(conn).pid;
        assert!(pid.is_none() || pid == Some(leaker.pid), "{report:#?}");
    }
}

/// In flight over a unix socket: where it cannot be found, nobody is blamed, and the documentation says so.
#[test]
fn a_reset_connection_in_flight() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    let alive = leaker.leak();
    leaker.send_away(conn.fd());
    leaker.abort(conn.peer());
    let in_close_wait = ["--state", "close-wait"];
    wait_until("the reset", || list(&leaker, &in_close_wait).sockets.len() == 1);
    let report = list(&leaker, &[]);
    assert_eq!(report.rows(&alive).len(), 1, "{report:#?}");
    for row in report.rows(&conn) {
        assert_eq!((row.pid, row.ownership.as_str()), (None, "unknown"), "{report:#?}");
    }
    let said = |paragraph: &str| paragraph.contains("in flight") && paragraph.contains("reset");
    assert!(
        include_str!("../../README.md").split("\n\n").any(said),
        "README.md says nothing of it"
    );
}
