//! That rows are made right, and in order; and tables to make them from.

use std::time::{Duration, SystemTime};

use super::*;
use crate::sock::age::Tick;
use crate::sock::conn::Conn;
use crate::sock::event::{
    Listener, Process, Progress, Record, Sock, SockFlags, Stamps, Transition,
};
use crate::sock::leak::Verdict;
use crate::sock::state::{State, StateSet};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// A hundred days after the boot.
const NOW: u64 = 100 * 86_400 * SECOND;

// The bits of `enum sock_flag`: of a socket with a descriptor, and of one in a queue.
const HELD: SockFlags = SockFlags::HAS_SOCKET
    .union(SockFlags::HAS_FILE)
    .union(SockFlags::PEER_CLOSED)
    .union(SockFlags::CONNECTED);
const QUEUED: SockFlags = SockFlags::PEER_CLOSED.union(SockFlags::CONNECTED);

pub(crate) fn now() -> Moment {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_403_400_123);
    Moment { ktime: NOW, time }
}

/// A port of this host.
pub(crate) fn end(last: u8, port: u16) -> Endpoint {
    Endpoint::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last], port)
}

/// A socket in CLOSE_WAIT, for at least so many seconds.
pub(crate) fn sock(place: u64, age: u32) -> Sock {
    let jiffies = 1 << 30;
    let then = jiffies - 1 - age;
    Sock {
        sock: SockPtr(0xffff_8881_4ee6_2000 + place),
        conn: Conn { local: end(1, 9005), remote: end(1, 48_814), netns: 4_026_531_833 },
        cookie: None,
        state: State::CloseWait,
        flags: HELD,
        progress: Progress::default(),
        unread: 0,
        bytes_received: 0,
        bytes_acked: 0,
        err: 0,
        stamps: Stamps {
            ktime: NOW,
            jiffies,
            mstamp: (NOW - u64::from(age) * SECOND) / 1_000,
            rcv_tstamp: then,
            lrcvtime: then,
            lsndtime: then,
            ..Stamps::default()
        },
    }
}

pub(crate) fn held(pid: Pid, fd: u32, sock: &Sock) -> Record {
    Record::Held(Holder::at(pid, fd), sock.clone())
}

/// A socket in the queue of a listener that a process has open; the listener comes first.
pub(crate) fn queued(pid: Pid, fd: u32, sock: &Sock) -> [Record; 2] {
    let listener = Listener {
        sock: SockPtr(9),
        conn: Conn { remote: end(0, 0), ..sock.conn },
        backlog: 128,
        max_backlog: 128,
    };
    let waiting = Sock { flags: QUEUED, ..sock.clone() };
    [Record::Listener(Holder::at(pid, fd), listener), Record::Queued(SockPtr(9), waiting)]
}

pub(crate) fn process(pid: Pid, comm: &str) -> Record {
    Record::Process(
        pid,
        Process { comm: comm.into(), open_fds: 9, fd_limit: 1024, ..Process::default() },
    )
}

/// A table after a scan; these sockets' transitions were seen before it, each as long ago as the
/// scan will say.
pub(crate) fn table(seen: &[&Sock], scan: impl IntoIterator<Item = Record>) -> Table {
    let mut table = Table::new(StateSet::CLOSE_WAIT, Tick { ns: SECOND }, 100_000);
    for sock in seen {
        table.apply(Transition {
            ktime: sock.stamps.mstamp * 1_000,
            sock: sock.sock,
            conn: sock.conn,
            cookie: sock.cookie,
            old: State::Established,
            new: sock.state,
            flags: sock.flags,
            progress: sock.progress,
            err: 0,
            actor: None,
        });
    }
    table.begin_scan(NOW);
    scan.into_iter().for_each(|record| table.absorb(record));
    table.end_scan(&[], true);
    table
}

pub(crate) fn report(table: &Table) -> Report<'_> {
    Report::build(table, &Filter::default(), SortKey::Age, now(), Health::default())
}

#[test]
fn a_socket_has_a_row_for_each_process_that_holds_it() {
    let (shared, young) = (sock(1, 60), sock(2, 5));
    let mut scan = vec![process(7, "seven"), process(8, "eight")];
    scan.extend([(7, 3), (8, 3), (7, 4), (8, 5)].map(|(pid, fd)| held(pid, fd, &shared)));
    scan.push(Record::Unheld(young.clone()));
    let table = table(&[&young], scan);
    let report = report(&table);

    let rows: Vec<_> = report.sockets.iter().collect();
    let owners = rows.iter().map(|row| (row.sock, row.pid, row.comm, row.fds().collect()));
    let expected = [
        (shared.sock, Some(7), Some("seven"), vec![3, 4]),
        (shared.sock, Some(8), Some("eight"), vec![3, 5]),
        (young.sock, None, None, vec![]),
    ];
    assert_eq!(owners.collect::<Vec<_>>(), expected);
    assert_eq!(report.sockets.len(), rows.len());
    assert_eq!(rows[0].ownership, Ownership::Held);
    assert_eq!((rows[0].age, rows[0].age_is), (60 * SECOND, AgeIs::AtLeast));
    assert_eq!((rows[0].verdict, rows[0].unread_bytes), (Some(Verdict::EofRead), Some(0)));
    assert_eq!(rows[2].ownership, Ownership::Unknown);
    assert_eq!((rows[2].age, rows[2].age_is), (5 * SECOND, AgeIs::Exact));

    let leaked = report.processes.iter().map(|process| (process.pid, process.leaked));
    assert_eq!(leaked.collect::<Vec<_>>(), [(7, 1), (8, 1)]);
    let pids: Vec<Vec<_>> =
        report.sockets.chunks(2).map(|rows| rows.map(|row| row.pid).collect()).collect();
    assert_eq!(pids, [vec![Some(7), Some(8)], vec![None]]);
}

#[test]
fn a_queued_socket_is_counted_once_for_its_listener() {
    let waiting = sock(1, 60);
    let [listener, queued] = queued(7, 3, &waiting);
    let Record::Listener(_, twin) = listener.clone() else { unreachable!() };
    let table = table(&[], [listener, Record::Listener(Holder::at(8, 4), twin), queued]);
    let report = report(&table);
    assert!(report.sockets.iter().all(|row| row.ownership == Ownership::Listener));
    assert_eq!(report.sockets.len(), 2);
    let listeners = report.listeners.iter().map(|row| (row.pid, row.never_accepted));
    assert_eq!(listeners.collect::<Vec<_>>(), [(7, 1), (8, 1)]);
}

#[test]
fn rows_are_filtered_and_sorted() {
    let socks = [(1, 9), (5, 60), (3, 60), (4, 60), (2, 99)].map(|(at, age)| sock(at, age));
    let scan = (1..).zip(&socks).map(|(pid, sock)| held(9 - pid, 3, sock));
    let table = table(&[], scan);
    let order = |filter: &Filter, sort| {
        let report = Report::build(&table, filter, sort, now(), Health::default());
        let places = report.sockets.iter().map(|row| row.sock.0 - sock(0, 0).sock.0);
        places.collect::<Vec<_>>()
    };
    let all = Filter::default();
    assert_eq!(order(&all, SortKey::Age), [2, 3, 4, 5, 1], "by address where ages are equal");
    assert_eq!(order(&all, SortKey::Pid), [2, 4, 3, 5, 1]);
    assert_eq!(order(&all, SortKey::State), [2, 3, 4, 5, 1], "by age where states are equal");
    let some = Filter { pid: vec![6, 7, 8], ..Filter::default() };
    assert_eq!(order(&some, SortKey::Age), [3, 5, 1]);
}
