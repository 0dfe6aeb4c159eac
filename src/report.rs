//! The one input of every view: what the table says at a moment, filtered and sorted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use crate::conn::{Endpoint, SockPtr};
use crate::event::{Holder, Pid};
use crate::filter::Filter;
use crate::state::State;
use crate::table::{Table, Tracked};
use crate::trend::Trend;
use crate::verdict::Verdict;

/// Raised when a field changes its meaning; fields are only ever added.
pub const SCHEMA: u32 = 1;

/// What is leaked now.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
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
    pub sockets: Vec<SocketRow>,
    /// The processes of these rows.
    pub processes: Vec<ProcessRow>,
    /// The listeners in whose queues some of these sockets wait.
    pub listeners: Vec<ListenerRow>,
}

/// A socket in the hands of a process. Times are in ns, and print in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct SocketRow {
    /// Where the socket is in the kernel's memory.
    pub sock: SockPtr,
    /// Its cookie (`sk:` in `ss -e`, there in hex), once it has one.
    pub cookie: Option<NonZeroU64>,
    /// The inode of its network namespace.
    pub netns: u32,
    /// `ipv4` or `ipv6`, as the addresses print.
    pub family: &'static str,
    /// Our end.
    pub local: Endpoint,
    /// The peer's end.
    pub remote: Endpoint,
    /// Its state.
    pub state: State,
    /// What kind of bug it is, if that is known.
    pub verdict: Option<Verdict>,
    /// How many bytes the program has not read, if a scan has looked.
    pub unread_bytes: Option<u32>,
    /// How long it is in its state; if it was reset: how long its peer has been gone.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: u64,
    /// Whether that was seen, or is a bound from below.
    pub age_is: AgeIs,
    /// The bound from above, where one is known.
    #[serde(rename = "age_at_most_seconds", serialize_with = "optional_seconds")]
    pub age_at_most: Option<u64>,
    /// How long no data has gone either way, if a scan has looked.
    #[serde(rename = "idle_seconds", serialize_with = "optional_seconds")]
    pub idle: Option<u64>,
    /// The holder, in the PID namespace that sockleak runs in.
    pub pid: Option<Pid>,
    /// The holder's name, unsanitised.
    pub comm: Option<Rc<str>>,
    /// The holder's effective user, as the initial user namespace numbers it.
    pub uid: Option<u32>,
    /// The holder's descriptors for this socket, or for its listener.
    pub fds: SmallVec<[u32; 2]>,
    /// How it is held.
    pub ownership: Ownership,
}

/// What an age is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgeIs {
    /// The transition was seen.
    Exact,
    /// The socket was there first: a bound from the connection's own timestamps.
    AtLeast,
}

/// How a socket is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// A process has it open.
    Held,
    /// It waits in the accept queue of a listener that a process has open.
    Listener,
    /// No program will ever refer to it.
    Kernel,
    /// Nobody was found; a descriptor in flight between two processes is one reason.
    Unknown,
}

/// A process that leaks.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessRow {
    /// The process.
    pub pid: Pid,
    /// Its name, unsanitised.
    pub comm: Option<Rc<str>>,
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
pub struct ListenerRow {
    /// Where the listening socket is in the kernel's memory.
    pub sock: SockPtr,
    /// The inode of its network namespace.
    pub netns: u32,
    /// Where it listens.
    pub local: Endpoint,
    /// The process that has it open.
    pub pid: Pid,
    /// Its name, unsanitised.
    pub comm: Option<Rc<str>>,
    /// Its descriptors for it.
    pub fds: SmallVec<[u32; 2]>,
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

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// ns, `CLOCK_MONOTONIC`.
    pub ktime: u64,
    /// The time of day.
    pub time: SystemTime,
}

impl Report {
    /// What the table says at this moment.
    pub fn build(
        table: &Table,
        filter: &Filter,
        sort: SortKey,
        now: Moment,
        health: Health,
    ) -> Self {
        let mut sockets = Vec::with_capacity(table.len());
        let mut queued: HashMap<SockPtr, usize> = HashMap::new();
        for (sock, tracked) in oldest_first(table, now.ktime) {
            let before = sockets.len();
            let mut add = |holder| {
                let row = row(table, sock, tracked, holder, now.ktime);
                if filter.matches(&row) {
                    sockets.push(row);
                }
            };
            let holders = table.holders(tracked);
            by_process(holders).for_each(|holder| add(Some(holder)));
            if holders.is_empty() {
                add(None);
            }
            if let Some(listener) = tracked.listener.filter(|_| sockets.len() > before) {
                *queued.entry(listener).or_default() += 1;
            }
        }
        sort_rows(&mut sockets, sort);
        Self {
            schema: SCHEMA,
            time: now.time,
            complete: health.incomplete.is_empty(),
            incomplete: health.incomplete,
            lost_events: health.lost_events,
            processes: process_rows(table, &sockets),
            listeners: listener_rows(table, &queued),
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

impl SocketRow {
    /// For how long it has been stranded, in ns.
    pub fn stranded(&self) -> u64 {
        stranded(self.state, self.age, self.idle)
    }
}

/// For how long a socket has been stranded: an established connection, for as long as it is idle.
fn stranded(state: State, age: u64, idle: Option<u64>) -> u64 {
    if state == State::Established { idle.unwrap_or(0) } else { age }
}

/// How old a socket is at least, and how long it has been idle.
fn age_and_idle(tracked: &Tracked, now: u64) -> (u64, Option<u64>) {
    let idle = (tracked.last_data != 0).then(|| now.saturating_sub(tracked.last_data));
    (now.saturating_sub(tracked.since.latest), idle)
}

/// The row of a socket and a process that holds it, with these descriptors; or nobody.
fn row(
    table: &Table,
    sock: SockPtr,
    tracked: &Tracked,
    holder: Option<(Pid, SmallVec<[u32; 2]>)>,
    now: u64,
) -> SocketRow {
    let (age, idle) = age_and_idle(tracked, now);
    let since = tracked.since;
    let (pid, fds) = holder.unzip();
    let process = pid.and_then(|pid| table.process(pid));
    SocketRow {
        sock,
        cookie: tracked.cookie,
        netns: tracked.conn.netns,
        family: tracked.conn.family(),
        local: tracked.conn.local,
        remote: tracked.conn.remote,
        state: tracked.state,
        verdict: tracked.verdict(),
        unread_bytes: tracked.unread_bytes(),
        age,
        age_is: if since.is_exact() { AgeIs::Exact } else { AgeIs::AtLeast },
        age_at_most: (since.earliest != 0).then(|| now.saturating_sub(since.earliest)),
        idle,
        pid,
        comm: process.map(|process| Rc::clone(&process.comm)),
        uid: process.map(|process| process.uid),
        fds: fds.unwrap_or_default(),
        ownership: match (pid, tracked.listener) {
            (Some(_), None) => Ownership::Held,
            (Some(_), Some(_)) => Ownership::Listener,
            (None, _) if tracked.ownerless() => Ownership::Kernel,
            (None, _) => Ownership::Unknown,
        },
    }
}

/// Sorted holders, a process at a time with all its descriptors.
fn by_process(holders: &[Holder]) -> impl Iterator<Item = (Pid, SmallVec<[u32; 2]>)> {
    holders
        .chunk_by(|a, b| a.pid == b.pid)
        .map(|same| (same[0].pid, same.iter().map(|holder| holder.fd).collect()))
}

/// The sockets of the table, the oldest first; sorted before they become rows, which are larger.
fn oldest_first(table: &Table, now: u64) -> impl Iterator<Item = (SockPtr, &Tracked)> {
    let key = |(sock, tracked): (SockPtr, _)| {
        let (age, idle) = age_and_idle(tracked, now);
        (Reverse(stranded(tracked.state, age, idle)), sock, tracked)
    };
    let mut socks: Vec<_> = table.socks().map(key).collect();
    socks.sort_unstable_by_key(|&(age, sock, _)| (age, sock));
    socks.into_iter().map(|(_, sock, tracked)| (sock, tracked))
}

/// Sorts rows that are sorted by age already: among equals, the oldest stays first.
fn sort_rows(rows: &mut [SocketRow], sort: SortKey) {
    match sort {
        SortKey::Age => {}
        SortKey::Pid => rows.sort_by_key(|row| (row.pid.is_none(), row.pid)),
        SortKey::Comm => rows.sort_by(|a, b| a.comm.cmp(&b.comm)),
        SortKey::Local => rows.sort_by_key(|row| row.local),
        SortKey::Remote => rows.sort_by_key(|row| row.remote),
        SortKey::State => rows.sort_by_key(|row| row.state),
        SortKey::Verdict => rows.sort_by_key(|row| row.verdict),
        SortKey::Unread => rows.sort_by_key(|row| Reverse(row.unread_bytes)),
    }
}

/// The processes of the rows, those that leak most first.
fn process_rows(table: &Table, sockets: &[SocketRow]) -> Vec<ProcessRow> {
    let mut leaked: BTreeMap<Pid, usize> = BTreeMap::new();
    for pid in sockets.iter().filter_map(|row| row.pid) {
        *leaked.entry(pid).or_default() += 1;
    }
    let mut rows: Vec<_> = leaked
        .into_iter()
        .map(|(pid, leaked)| {
            let process = table.process(pid);
            ProcessRow {
                pid,
                comm: process.map(|process| Rc::clone(&process.comm)),
                uid: process.map(|process| process.uid),
                leaked,
                open_fds: process.map(|process| process.open_fds),
                fd_limit: process.map(|process| process.fd_limit),
                leaked_per_minute: None,
                exhausted_in_seconds: None,
            }
        })
        .collect();
    rows.sort_by_key(|row| Reverse(row.leaked));
    rows
}

fn listener_rows(table: &Table, queued: &HashMap<SockPtr, usize>) -> Vec<ListenerRow> {
    let mut rows = Vec::new();
    for queue in table.queues() {
        let listener = &queue.listener;
        let Some(&never_accepted) = queued.get(&listener.sock) else {
            continue;
        };
        rows.extend(by_process(&queue.holders).map(|(pid, fds)| ListenerRow {
            sock: listener.sock,
            netns: listener.conn.netns,
            local: listener.conn.local,
            pid,
            comm: table.process(pid).map(|process| Rc::clone(&process.comm)),
            fds,
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
