//! The fields of rows, and their order.

use serde_json::{Value, json};

use super::*;
use crate::report::row::{AgeIs, Direction, Ownership, Relay};
use crate::sock::event::Actor;
use crate::sock::leak::Class;

#[test]
fn a_socket_has_a_row_for_each_process_that_holds_it() {
    let (shared, young) = (sock(1, 60), sock(2, 5));
    let mut scan = vec![process(7, "seven"), process(8, "eight")];
    scan.extend([(7, 3), (8, 3), (7, 4), (8, 5)].map(|(pid, fd)| held(pid, fd, &shared)));
    scan.push(Record::Unheld(young.clone()));
    let table = table(&[&young], scan);
    let report = report(&table);

    let rows: Vec<_> = report.sockets.iter().collect();
    let owners = rows.iter().map(|row| (row.sock, row.pid, row.comm, row.holders.fds().collect()));
    let expected = [
        (shared.sock, Some(7), Some("seven"), vec![3, 4]),
        (shared.sock, Some(8), Some("eight"), vec![3, 5]),
        (young.sock, None, None, vec![]),
    ];
    assert_eq!(owners.collect::<Vec<_>>(), expected);
    assert_eq!(report.sockets.len(), rows.len());
    assert_eq!(rows[0].ownership, Ownership::Held);
    assert_eq!((rows[0].age, rows[0].age_is), (60 * SECOND, AgeIs::AtLeast));
    assert_eq!((rows[0].class, rows[0].verdict), (Class::Leaked, Some(Verdict::EofRead)));
    assert_eq!(rows[0].unread_bytes, Some(0));
    assert_eq!(rows[2].ownership, Ownership::Unknown);
    assert_eq!((rows[2].age, rows[2].age_is), (5 * SECOND, AgeIs::Exact));

    let leaked = report.processes.iter().map(|process| (process.pid, process.leaked));
    assert_eq!(leaked.collect::<Vec<_>>(), [(7, 1), (8, 1)]);
    let pids: Vec<Vec<_>> =
        report.sockets.chunks(2).map(|rows| rows.map(|row| row.pid).collect()).collect();
    assert_eq!(pids, [vec![Some(7), Some(8)], vec![None]]);
}

#[test]
fn rows_are_sorted_and_the_oldest_comes_first_among_equals() {
    let socks = [(1, 9), (5, 60), (3, 60), (4, 60), (2, 99)].map(|(at, age)| sock(at, age));
    let scan = (1..).zip(&socks).map(|(pid, sock)| held(9 - pid, 3, sock));
    let table = table(&[], scan);
    let order = |sort| places(&report_of(&table, &Query { sort, ..query() }));
    assert_eq!(order(SortKey::Age), [2, 3, 4, 5, 1], "by address where ages are equal");
    assert_eq!(order(SortKey::Pid), [2, 4, 3, 5, 1]);
    assert_eq!(order(SortKey::State), [2, 3, 4, 5, 1], "by age where states are equal");
}

#[test]
fn what_may_be_about_to_leave_is_no_row() {
    let mut young = sock(1, 0);
    young.stamps.mstamp = NOW / 1_000;
    let scan = [process(7, "sh"), held(7, 3, &young), held(7, 4, &sock(2, 1))];
    let table = table(&[], scan);
    let query = || Query { settle: SECOND / 3, ..query() };
    let report = report_of(&table, &query());
    assert_eq!(places(&report), [2]);
    let process = &report.processes[0];
    assert_eq!((process.leaked, process.descriptors.as_ref().map(|of| of.leaked)), (1, Some(1)));
    let shown = Shown::States(StateSet::CLOSE_WAIT);
    assert_eq!(places(&report_of(&table, &Query { shown, ..query() })), [2, 1], "asked for");
}

/// Where idleness counts, it is what rows are sorted by.
#[test]
fn what_is_not_over_lasts_for_as_long_as_it_is_idle() {
    let mut shut = half_shut(1, 100);
    shut.stamps.lsndtime = shut.stamps.jiffies - 1 - 70;
    shut.stamps.lrcvtime = shut.stamps.jiffies - 1 - 80;
    let table = table(&[], [held(7, 3, &shut), held(7, 4, &sock(2, 75))]);
    let report = report_of(&table, &Query { shown: Shown::Stranded, ..query() });
    assert_eq!(places(&report), [2, 1]);
    let row = report.sockets.iter().last().unwrap();
    assert_eq!(row.verdict, Some(Verdict::HalfShut));
    assert_eq!((row.lasting(), row.idle, row.age), (70 * SECOND, Some(70 * SECOND), 100 * SECOND));
}

fn only_row(table: &Table, query: &Query) -> Value {
    let report = report_of(table, query);
    assert_eq!(report.sockets.len(), 1);
    serde_json::to_value(report.sockets.iter().next().unwrap()).unwrap()
}

#[test]
fn unread_bytes_may_be_a_farewell_where_they_are_few_and_not_all() {
    let row = |unread, bytes_received| {
        let sock = Sock { unread, bytes_received, ..sock(1, 60) };
        let table = table(&[], [held(7, 3, &sock)]);
        let report = report(&table);
        let row = report.sockets.iter().next().unwrap();
        let kinds = report.sockets.kinds();
        let has = (kinds.has_farewell, kinds.has_never_read);
        assert_eq!(has, (row.maybe_farewell, row.was_never_read));
        (row.unread_bytes, row.maybe_farewell, row.was_never_read)
    };
    // The FIN is counted in both numbers.
    assert_eq!(row(25, 500), (Some(24), true, false));
    assert_eq!(row(1_025, 1_100), (Some(1_024), true, false));
    assert_eq!(row(1_026, 1_100), (Some(1_025), false, false));
    assert_eq!(row(25, 25), (Some(24), false, true), "it is all that ever came");
    assert_eq!(row(1, 1), (Some(0), false, false), "nothing ever came");
    assert_eq!(row(0, 500), (Some(0), false, false));
}

#[test]
fn what_tcp_does_not_know_is_null() {
    let msk = in_state(State::CloseWait, HELD | SockFlags::MPTCP, 1, 60);
    let row = only_row(&table(&[], [held(7, 3, &msk)]), &query());
    for key in ["verdict", "unread_bytes", "bytes_received", "bytes_acked"] {
        assert_eq!(row[key], Value::Null, "{key}");
    }
    assert_eq!((&row["class"], &row["maybe_farewell"]), (&json!("leaked"), &json!(false)));
}

#[test]
fn a_listeners_child_was_accepted_and_others_have_connected() {
    let direction = |sock: &Sock| {
        let table = table(&[], [held(7, 3, sock)]);
        report(&table).sockets.iter().next().unwrap().direction
    };
    assert_eq!(direction(&sock(1, 60)), Some(Direction::Connected));
    let child = in_state(State::CloseWait, HELD | SockFlags::ACCEPTED, 1, 60);
    assert_eq!(direction(&child), Some(Direction::Accepted));
    let msk = SockFlags::MPTCP | SockFlags::HAS_SOCKET;
    assert_eq!(direction(&in_state(State::CloseWait, msk, 1, 60)), None);

    let table = table(&[], queued(7, 3, &sock(1, 60)));
    let report = report(&table);
    assert_eq!(report.sockets.iter().next().unwrap().direction, Some(Direction::Accepted));
}

#[test]
fn the_kernels_own_has_no_owner() {
    let table = table(&[], [Record::Unheld(half_shut_orphan())]);
    let shown = Shown::States(StateSet::ALL);
    let row = only_row(&table, &Query { shown, ..query() });
    assert_eq!((&row["ownership"], &row["pid"]), (&json!("kernel"), &Value::Null));
    assert_eq!((&row["class"], &row["verdict"]), (&json!("in-use"), &Value::Null));
}

fn half_shut_orphan() -> Sock {
    let flags = SockFlags::CONNECTED | SockFlags::ORPHAN | SockFlags::SHUT_BOTH;
    in_state(State::FinWait2, flags, 1, 100)
}

#[test]
fn a_place_in_a_ring_is_no_descriptor() {
    let in_ring = Record::Held(Holder { pid: 7, fd: 8, slot: Some(2) }, sock(1, 60));
    let row = only_row(&table(&[], [in_ring]), &query());
    assert_eq!((&row["ownership"], &row["fds"]), (&json!("held"), &json!([])));
    assert_eq!((&row["ring_fd"], &row["ring_slot"]), (&json!(8), &json!(2)));
}

/// A worker has what its parent held before it began.
#[test]
fn what_another_held_before_this_one_began_is_inherited() {
    let leaked = sock(1, 60);
    let began = |pid, start_time| Record::Process(pid, Process { start_time, ..running() });
    let mut table = table(&[], [began(7, SECOND), held(7, 3, &leaked)]);
    table.begin_scan(NOW + 9 * SECOND);
    let again =
        [began(7, SECOND), began(8, NOW + 5 * SECOND), held(7, 3, &leaked), held(8, 3, &leaked)];
    again.into_iter().for_each(|record| table.absorb(record));
    table.end_scan(true);
    let report = report(&table);
    let inherited: Vec<_> = report.sockets.iter().map(|row| (row.pid, row.inherited)).collect();
    assert_eq!(inherited, [(Some(7), false), (Some(8), true)]);
    let json = serde_json::to_value(&report.sockets).unwrap();
    assert_eq!((json[0].get("inherited"), &json[1]["inherited"]), (None, &json!(true)));
}

/// The client's socket of a proxy, 60 s ago, and that of the backend a moment later.
pub(crate) fn relay(unread: u32) -> (Table, Sock) {
    let client = Sock { unread, ..sock(1, 60) };
    let mut backend = half_shut(2, 60);
    backend.conn.remote = end(2, 8080);
    backend.flags -= SockFlags::PEER_CLOSED;
    let mut table = table(&[&client], []);
    table.begin_scan(NOW);
    let event = |sock: &Sock, old, new| Transition {
        ktime: NOW - 60 * SECOND,
        sock: sock.sock,
        conn: sock.conn,
        cookie: None,
        old,
        new,
        flags: sock.flags,
        progress: Progress::default(),
        err: 0,
        actor: Some(Actor { pid: Some(7), comm: "proxy".to_owned(), exiting: false }),
    };
    table.end_scan(true);
    table.apply(event(&client, State::Established, State::CloseWait));
    table.apply(event(&backend, State::Established, State::FinWait1));
    table.begin_scan(NOW);
    for record in [process(7, "proxy"), held(7, 3, &client), held(7, 4, &backend)] {
        table.absorb(record);
    }
    table.end_scan(true);
    (table, backend)
}

#[test]
fn a_relay_is_stranded_and_names_the_other_socket() {
    let (table, backend) = relay(0);
    assert!(report(&table).sockets.is_empty());
    let report = report_of(&table, &Query { shown: Shown::Stranded, ..query() });
    let relays: Vec<_> = report.sockets.iter().map(|row| (row.verdict, row.relay)).collect();
    let Conn { local, remote, .. } = backend.conn;
    let other = Relay { sock: backend.sock, local, remote };
    let expected = [(Some(Verdict::Relayed), Some(other)), (Some(Verdict::HalfShut), None)];
    assert_eq!(relays, expected);
}

#[test]
fn a_relay_that_has_left_data_unread_is_a_leak_like_others() {
    let (table, _) = relay(9);
    let report = report(&table);
    let rows: Vec<_> = report.sockets.iter().map(|row| (row.verdict, row.relay)).collect();
    assert_eq!(rows, [(Some(Verdict::DataUnread), None)]);
}

#[test]
fn a_peer_on_this_host_is_named_where_it_is_asked_for() {
    let leaked = sock(1, 60);
    let mut other = half_shut(2, 60);
    other.conn = Conn { local: leaked.conn.remote, remote: leaked.conn.local, ..leaked.conn };
    let mut elsewhere = sock(3, 50);
    elsewhere.conn.netns = 5;
    let scan = [
        process(7, "server"),
        Record::Process(8, Process { comm: "worker".into(), start_time: 5, ..running() }),
        Record::Process(9, Process { comm: "client".into(), start_time: 4, ..running() }),
        held(7, 3, &leaked),
        held(8, 4, &other),
        held(9, 4, &other),
        held(7, 5, &elsewhere),
    ];
    let table = table(&[], scan);
    let query = Query { peer: true, ..query() };
    let peers = query.peers(&table);
    let report = Report::build(&table, &query, peers.as_ref(), now(), Health::default());
    let named: Vec<_> = report.sockets.iter().map(|row| (row.peer_pid, row.peer_comm)).collect();
    assert_eq!(named, [(Some(9), Some("client")), (None, None)]);
    assert!(report.sockets.has_peers() && !super::report(&table).sockets.has_peers());
}
