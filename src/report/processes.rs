//! The processes and listeners of a report, with what their descriptors refer to.

use std::cmp::Reverse;

use serde::Serialize;

use super::counts::{Counts, OfListener, OfProcess};
use super::filter::Filter;
use super::row::{Oldest, is_zero};
use super::sockets::{by_process, oldest};
use crate::host::identity::{Identity, Named};
use crate::live::table::{Queue, Table};
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::event::{Holder, Pid, Process};
use crate::sock::leak::Verdict;
use crate::sock::name;

/// The identity of a process as long as nobody has read it.
static UNKNOWN: Identity = Identity::UNKNOWN;

/// A process that has rows.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessRow<'a> {
    /// The process.
    pub pid: Pid,
    /// When it began: with its number, that names it for good.
    #[serde(skip)]
    pub start_time: u64,
    /// The same moment as /proc counts it.
    #[serde(skip)]
    pub start_boottime: u64,
    /// Its name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// Its program, its user's name, its unit, its container and its pod: see
    /// [`Report::add_identities`](super::Report::add_identities).
    #[serde(flatten)]
    pub identity: &'a Identity,
    /// True if a signal or a debugger has stopped it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How many rows are its own.
    #[serde(skip)]
    pub rows: usize,
    /// How many of them wait in the queues of its listeners.
    #[serde(skip)]
    pub queued: usize,
    /// How long the oldest of them has lasted.
    #[serde(skip)]
    pub oldest: Oldest,
    /// How many leaked sockets its descriptors hold.
    pub leaked: usize,
    /// How many stranded ones.
    pub stranded: usize,
    /// True if these two are bounds from below: not all of its descriptors are listed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// How many descriptors it has open.
    pub open_fds: Option<u32>,
    /// How many it may have open.
    pub fd_limit: Option<u64>,
    /// Its descriptors by what they refer to.
    pub descriptors: Option<Descriptors>,
    /// How fast it leaks: see [`Trend`](super::trend::Trend).
    pub leaked_per_minute: Option<f64>,
    /// When it is out of descriptors if it goes on like this.
    pub exhausted_in_seconds: Option<f64>,
}

/// Descriptors of a process by what they refer to. The first seven make up all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Descriptors {
    /// Leaked sockets.
    pub leaked: u32,
    /// Stranded sockets,
    pub stranded: u32,
    /// Other TCP connections.
    pub connected: u32,
    /// TCP listeners.
    pub listening: u32,
    /// Other TCP sockets that are connected to nothing.
    pub unconnected: u32,
    /// Sockets of other protocols.
    pub other_sockets: u32,
    /// All others.
    pub files: u32,
    /// Connected ones through which no data has gone for over an hour.
    pub idle: u32,
    /// Idle ones without keepalive.
    pub idle_without_keepalive: u32,
    /// The stranded ones by verdict.
    #[serde(skip)]
    pub stranded_as: Vec<(Verdict, u32)>,
}

/// A listener in whose queue rows wait.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerRow<'a> {
    /// Where the listening socket is in the kernel's memory.
    pub sock: SockPtr,
    /// The inode of its network namespace.
    pub netns: u32,
    /// Where it listens.
    pub local: Endpoint,
    /// The process that has it open; of several, the oldest.
    pub pid: Pid,
    /// Its name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// Its descriptors for it.
    pub fds: Vec<u32>,
    /// Every process that has it open, as far as they are listed.
    pub holders: Vec<ListenerHolder<'a>>,
    /// How many more descriptors refer to it.
    #[serde(skip_serializing_if = "is_zero")]
    pub holders_omitted: u32,
    /// How many connections wait.
    pub backlog: u32,
    /// How many may.
    pub max_backlog: u32,
    /// How many of them have lost their peers.
    pub never_accepted: usize,
    /// How many have waited for too long, and still have them.
    pub unaccepted: usize,
}

/// The accept queue of a listener, whatever waits in it.
#[derive(Clone, Debug)]
pub struct QueueRow<'a> {
    /// Where it listens.
    pub local: Endpoint,
    /// The process that has it open, of several the oldest; where the last scan has seen it.
    pub process: Option<Named<'a>>,
    /// Its unit, its container and its pod.
    pub identity: &'a Identity,
    /// How many connections wait.
    pub backlog: u32,
    /// How many may.
    pub max_backlog: u32,
}

/// A process that has a listener open.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerHolder<'a> {
    /// The process.
    pub pid: Pid,
    /// Its name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// Its descriptors for it.
    pub fds: Vec<u32>,
}

impl<'a> ProcessRow<'a> {
    /// The process, if the kernel has told of it, for whoever identifies it.
    pub(super) fn named(&self) -> Option<Named<'a>> {
        let Self { pid, start_boottime, .. } = *self;
        Some(Named { pid, start_boottime, comm: self.comm?, uid: self.uid? })
    }
}

/// The processes of the rows, those that leak most first.
pub(super) fn rows<'a>(table: &'a Table, counts: &Counts) -> Vec<ProcessRow<'a>> {
    let row = |(&pid, counts): (&Pid, &OfProcess)| {
        let process = table.process(pid);
        let at_least = table.is_partly_listed(pid);
        ProcessRow {
            pid,
            start_time: process.map_or(0, |process| process.start_time),
            start_boottime: process.map_or(0, |process| process.start_boottime),
            comm: process.map(|process| &*process.comm),
            uid: process.map(|process| process.uid),
            identity: &UNKNOWN,
            stopped: process.is_some_and(|process| process.stopped),
            rows: counts.rows,
            queued: counts.queued,
            oldest: counts.oldest,
            leaked: counts.leaked,
            stranded: counts.stranded,
            open_fds: process.map(|process| process.open_fds),
            fd_limit: process.map(|process| process.fd_limit),
            at_least,
            descriptors: process.filter(|_| !at_least).map(|process| descriptors(process, counts)),
            leaked_per_minute: None,
            exhausted_in_seconds: None,
        }
    };
    let with_rows = counts.processes.iter().filter(|(_, counts)| counts.rows > 0);
    let mut rows: Vec<_> = with_rows.map(row).collect();
    rows.sort_by_key(|row| (Reverse((row.leaked, row.rows)), row.pid));
    rows
}

/// The census of a process: what the kernel has counted, less what is leaked or stranded.
fn descriptors(process: &Process, counts: &OfProcess) -> Descriptors {
    let counted = process.descriptors;
    let stranded: u32 = counts.stranded_fds.values().sum();
    let in_rows = counts.leaked_fds + stranded;
    let sockets = counted.connected + counted.listening + counted.closed + counted.other_sockets;
    Descriptors {
        leaked: counts.leaked_fds,
        stranded,
        connected: counted.connected.saturating_sub(in_rows - counts.closed_fds),
        listening: counted.listening,
        unconnected: counted.closed.saturating_sub(counts.closed_fds),
        other_sockets: counted.other_sockets,
        files: process.open_fds.saturating_sub(sockets),
        idle: counted.idle,
        idle_without_keepalive: counted.idle_unguarded,
        stranded_as: counts.stranded_fds.iter().map(|(&verdict, &fds)| (verdict, fds)).collect(),
    }
}

/// The processes with stranded sockets, those with most first.
pub(super) fn stranded_in<'a>(table: &'a Table, counts: &Counts) -> Vec<(Pid, Option<&'a str>)> {
    let holders = counts.processes.iter().filter(|(_, counts)| counts.stranded > 0);
    let mut holders: Vec<_> =
        holders.map(|(&pid, counts)| (Reverse(counts.stranded), pid)).collect();
    holders.sort_unstable();
    holders.into_iter().map(|(_, pid)| (pid, comm(table, pid))).collect()
}

/// The listeners of the rows, those with most first.
pub(super) fn listeners<'a>(table: &'a Table, counts: &Counts) -> Vec<ListenerRow<'a>> {
    let row = |queue: &'a Queue| {
        let listener = &queue.listener;
        let OfListener { never_accepted, unaccepted } = *counts.listeners.get(&listener.sock)?;
        let pid = oldest(table, &queue.holders)?.pid;
        let holders: Vec<_> = by_process(&queue.holders)
            .map(|own| ListenerHolder {
                pid: own[0].pid,
                comm: comm(table, own[0].pid),
                fds: fds(own),
            })
            .collect();
        let fds = holders.iter().find(|holder| holder.pid == pid).map(|own| own.fds.clone());
        Some(ListenerRow {
            sock: listener.sock,
            netns: listener.conn.netns,
            local: listener.conn.local,
            pid,
            comm: comm(table, pid),
            fds: fds.unwrap_or_default(),
            holders,
            holders_omitted: queue.holders.omitted(),
            backlog: listener.backlog,
            max_backlog: listener.max_backlog,
            never_accepted,
            unaccepted,
        })
    };
    let mut rows: Vec<_> = table.queues().filter_map(row).collect();
    rows.sort_by_key(|row| (Reverse(row.never_accepted + row.unaccepted), row.sock));
    rows
}

/// The accept queues that pass a filter.
pub(super) fn queues<'a>(table: &'a Table, filter: &Filter) -> Vec<QueueRow<'a>> {
    let row = |queue: &'a Queue| {
        let pid = oldest(table, &queue.holders)?.pid;
        let listener = &queue.listener;
        let named = |process: &'a Process| {
            let Process { start_boottime, comm, uid, .. } = process;
            Named { pid, start_boottime: *start_boottime, comm, uid: *uid }
        };
        Some(QueueRow {
            local: listener.conn.local,
            process: table.process(pid).map(named),
            identity: &UNKNOWN,
            backlog: listener.backlog,
            max_backlog: listener.max_backlog,
        })
    };
    table.queues().filter(|queue| filter.matches_queue(table, queue)).filter_map(row).collect()
}

fn comm(table: &Table, pid: Pid) -> Option<&str> {
    table.process(pid).map(|process| &*process.comm)
}

fn fds(holders: &[Holder]) -> Vec<u32> {
    holders.iter().filter(|holder| holder.slot.is_none()).map(|holder| holder.fd).collect()
}
