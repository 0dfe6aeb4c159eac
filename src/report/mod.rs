//! The one input of every view: what the table says at a moment, filtered and sorted.

pub mod filter;
pub mod group;
mod sockets;
pub mod trend;

use std::cmp::Reverse;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use self::sockets::same_process;
pub use self::sockets::{AgeIs, Kinds, Ownership, Rows, SocketRow, Sockets};
use crate::host::clock::Moment;
use crate::live::table::Table;
use crate::report::filter::Filter;
use crate::report::trend::Trend;
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::event::{Holder, Pid};
use crate::sock::name;

/// Raised when a field changes its meaning; fields are only ever added.
pub const SCHEMA: u32 = 1;

/// What is leaked now.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When: UTC, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Whether nothing can be missing or wrong.
    pub complete: bool,
    /// If something can be: why.
    pub incomplete: Vec<String>,
    /// How many records the kernel could not hand over, since the start.
    pub lost_events: u64,
    /// A row for each socket and process that holds it.
    pub sockets: Sockets<'a>,
    /// The processes of these rows.
    pub processes: Vec<ProcessRow<'a>>,
    /// The listeners in whose queues some of these sockets wait.
    pub listeners: Vec<ListenerRow<'a>>,
}

/// A process that leaks.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessRow<'a> {
    /// The process.
    pub pid: Pid,
    /// Its name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// How many rows are its own.
    pub leaked: usize,
    /// How many descriptors it has open.
    pub open_fds: Option<u32>,
    /// How many it may have open.
    pub fd_limit: Option<u64>,
    /// How fast it leaks: see [`Trend`].
    pub leaked_per_minute: Option<f64>,
    /// When it is out of descriptors if it goes on like this.
    pub exhausted_in_seconds: Option<f64>,
}

/// A listener whose process does not accept what waits.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerRow<'a> {
    /// Where the listening socket is in the kernel's memory.
    pub sock: SockPtr,
    /// The inode of its network namespace.
    pub netns: u32,
    /// Where it listens.
    pub local: Endpoint,
    /// The process that has it open.
    pub pid: Pid,
    /// Its name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// Its descriptors for it.
    #[serde(rename = "fds", serialize_with = "fds")]
    pub holders: &'a [Holder],
    /// How many connections wait.
    pub backlog: u32,
    /// How many may.
    pub max_backlog: u32,
    /// How many of them are rows of this report.
    pub never_accepted: usize,
}

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortKey {
    /// The oldest first.
    #[default]
    Age,
    /// By the holder's PID.
    Pid,
    /// By the holder's name.
    Comm,
    /// By our end.
    Local,
    /// By the peer's end.
    Remote,
    /// By the state.
    State,
    /// By the verdict.
    Verdict,
    /// The most unread bytes first.
    Unread,
}

/// How far a report can be trusted.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why something may be missing or wrong; empty if nothing can be.
    pub incomplete: Vec<String>,
    /// How many records the kernel could not hand over, since the start.
    pub lost_events: u64,
}

impl<'a> Report<'a> {
    /// What the table says at this moment.
    pub fn build(
        table: &'a Table,
        filter: &Filter,
        sort: SortKey,
        now: Moment,
        health: Health,
    ) -> Self {
        let (sockets, counts) = Sockets::build(table, filter, sort, now.ktime);
        Self {
            schema: SCHEMA,
            time: now.time,
            complete: health.incomplete.is_empty(),
            incomplete: health.incomplete,
            lost_events: health.lost_events,
            processes: process_rows(table, &counts.leaked),
            listeners: listener_rows(table, &counts.queued),
            sockets,
        }
    }

    /// Adds how fast each process leaks, which one report alone cannot know.
    pub fn add_trend(&mut self, trend: &mut Trend, ktime: u64) {
        trend.sample(ktime, self.processes.iter().map(|process| (process.pid, process.leaked)));
        for process in &mut self.processes {
            let Some(growth) = trend.of(process.pid) else {
                continue;
            };
            let free = process
                .fd_limit
                .zip(process.open_fds)
                .map(|(limit, open)| limit.saturating_sub(u64::from(open)));
            process.leaked_per_minute = Some(growth.per_minute);
            process.exhausted_in_seconds = free.and_then(|free| growth.seconds_until(free));
        }
    }
}

/// The processes of the rows, those that leak most first.
fn process_rows<'a>(table: &'a Table, leaked: &FxHashMap<Pid, usize>) -> Vec<ProcessRow<'a>> {
    let row = |(&pid, &leaked)| {
        let process = table.process(pid);
        ProcessRow {
            pid,
            comm: process.map(|process| &*process.comm),
            uid: process.map(|process| process.uid),
            leaked,
            open_fds: process.map(|process| process.open_fds),
            fd_limit: process.map(|process| process.fd_limit),
            leaked_per_minute: None,
            exhausted_in_seconds: None,
        }
    };
    let mut rows: Vec<_> = leaked.iter().map(row).collect();
    rows.sort_by_key(|row| (Reverse(row.leaked), row.pid));
    rows
}

fn listener_rows<'a>(table: &'a Table, queued: &FxHashMap<SockPtr, usize>) -> Vec<ListenerRow<'a>> {
    let mut rows = Vec::new();
    for queue in table.queues() {
        let listener = &queue.listener;
        let Some(&never_accepted) = queued.get(&listener.sock) else {
            continue;
        };
        rows.extend(same_process(&queue.holders).map(|holders| ListenerRow {
            sock: listener.sock,
            netns: listener.conn.netns,
            local: listener.conn.local,
            pid: holders[0].pid,
            comm: table.process(holders[0].pid).map(|process| &*process.comm),
            holders,
            backlog: listener.backlog,
            max_backlog: listener.max_backlog,
            never_accepted,
        }));
    }
    rows.sort_by_key(|row| (Reverse(row.never_accepted), row.sock, row.pid));
    rows
}

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

/// ns as seconds, to the millisecond.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn seconds<S: Serializer>(ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((ns / 1_000_000) as f64 / 1_000.0)
}

fn optional_seconds<S: Serializer>(ns: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ns {
        Some(ns) => seconds(ns, serializer),
        None => serializer.serialize_none(),
    }
}

fn fds<S: Serializer>(holders: &[Holder], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(holders.iter().map(|holder| holder.fd))
}

#[cfg(test)]
pub(crate) mod tests;
