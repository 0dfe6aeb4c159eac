//! Tables to make reports from, and what a report says of them.

mod counting;
mod filtering;
pub(crate) mod rows;
mod services;

use std::time::Duration;

use super::filter::Filter;
use super::*;
use crate::sock::age::Tick;
use crate::sock::conn::{Conn, Endpoint, SockPtr};
use crate::sock::event::{
    Holder, Listener, Pid, Process, Progress, Record, Sock, SockFlags, Stamps, Transition,
};
use crate::sock::state::{State, StateSet};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// A hundred days after the boot.
pub(crate) const NOW: u64 = 100 * 86_400 * SECOND;

// The bits of `enum sock_flag`: of a socket with a descriptor, and of one in a queue.
pub(crate) const HELD: SockFlags = SockFlags::HAS_SOCKET
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

/// A quiet socket of another state and kind.
pub(crate) fn in_state(state: State, flags: SockFlags, place: u64, age: u32) -> Sock {
    Sock { state, flags, ..sock(place, age) }
}

pub(crate) fn half_shut(place: u64, age: u32) -> Sock {
    in_state(State::FinWait2, HELD | SockFlags::SHUT_SEND, place, age)
}

/// Made, and nothing more.
pub(crate) fn unconnected(place: u64) -> Sock {
    let flags = SockFlags::HAS_SOCKET | SockFlags::HAS_FILE;
    let conn = Conn { local: end(0, 0), remote: end(0, 0), netns: 4_026_531_833 };
    let stamps = Stamps { ktime: NOW, jiffies: 1 << 30, ..Stamps::default() };
    Sock { conn, stamps, ..in_state(State::Close, flags, place, 0) }
}

pub(crate) fn process(pid: Pid, comm: &str) -> Record {
    Record::Process(pid, Process { comm: comm.into(), ..running() })
}

/// A process with a few files open.
pub(crate) fn running() -> Process {
    Process { open_fds: 9, fd_limit: 1024, ..Process::default() }
}

/// A table after a scan; these sockets' transitions were seen before it, each as long ago as the
/// scan will say.
pub(crate) fn table(seen: &[&Sock], scan: impl IntoIterator<Item = Record>) -> Table {
    let mut table = Table::new(StateSet::ALL, Tick { ns: SECOND }, 100_000);
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
    table.end_scan(true);
    table
}

/// One look will do: the second is tested with the sockets.
pub(crate) fn query() -> Query {
    Query { idle: 60 * SECOND, settle: 0, ..Query::default() }
}

pub(crate) fn report(table: &Table) -> Report<'_> {
    report_of(table, &query())
}

pub(crate) fn report_of<'a>(table: &'a Table, query: &Query) -> Report<'a> {
    Report::build(table, query, None, now(), Health::default())
}

/// Which sockets the rows are of, by their places.
pub(crate) fn places(report: &Report<'_>) -> Vec<u64> {
    report.sockets.iter().map(|row| row.sock.0 - sock(0, 0).sock.0).collect()
}
