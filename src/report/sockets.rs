//! The rows of a report.
//!
//! A row takes 200 bytes, and there may be a hundred thousand of them: to have them all in memory
//! would take longer than to make them. So a report knows their places in the table, and makes a
//! row each time that somebody asks for it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter;
use std::num::NonZeroU64;
use std::slice;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use super::{SortKey, fds, optional_seconds, seconds};
use crate::live::table::{Table, Tracked};
use crate::report::filter::Filter;
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::event::{Holder, Pid};
use crate::sock::leak::Verdict;
use crate::sock::name;
use crate::sock::state::State;

/// A row for each socket and process that holds it.
#[derive(Clone, Debug)]
pub struct Sockets<'a> {
    table: &'a Table,
    now: u64,
    places: Vec<Place>,
    kinds: Kinds,
}

/// What there is among rows.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// Their states.
    pub states: BTreeSet<State>,
    /// Their network namespaces.
    pub netns: BTreeSet<u32>,
    /// Their verdicts.
    pub verdicts: BTreeSet<Verdict>,
    /// Those of the last row: most are like the one before.
    last: Option<(State, u32, Option<Verdict>)>,
}

/// Where in the table a row comes from.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// For how long the socket has been stranded: what most reports are sorted by.
    stranded: u64,
    /// Which socket of the table.
    index: u32,
    /// Where among the holders of the socket this process begins.
    first: u32,
}

/// What was counted among the rows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// How many rows each process has.
    pub(super) leaked: FxHashMap<Pid, usize>,
    /// How many sockets wait in the queue of each listener.
    pub(super) queued: FxHashMap<SockPtr, usize>,
}

/// Rows, one after the other.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    table: &'a Table,
    now: u64,
    places: slice::Iter<'a, Place>,
}

/// A socket in the hands of a process. Times are in ns, and print in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SocketRow<'a> {
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
    /// The holder's name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// The holder's effective user, as the initial user namespace numbers it.
    pub uid: Option<u32>,
    /// The holder's descriptors for this socket, or for its listener.
    #[serde(rename = "fds", serialize_with = "fds")]
    pub holders: &'a [Holder],
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

impl Kinds {
    fn add(&mut self, tracked: &Tracked) {
        let kind @ (state, netns, verdict) = (tracked.state, tracked.conn.netns, tracked.verdict());
        if self.last.replace(kind) != Some(kind) {
            self.states.insert(state);
            self.netns.insert(netns);
            self.verdicts.extend(verdict);
        }
    }
}

impl SocketRow<'_> {
    /// For how long it has been stranded, in ns.
    pub fn stranded(&self) -> u64 {
        stranded(self.state, self.age, self.idle)
    }

    /// The numbers of the holder's descriptors.
    pub fn fds(&self) -> impl Iterator<Item = u32> {
        self.holders.iter().map(|holder| holder.fd)
    }
}

impl<'a> Sockets<'a> {
    /// The rows that the filter lets through, sorted; and what was counted on the way.
    pub(super) fn build(
        table: &'a Table,
        filter: &Filter,
        sort: SortKey,
        now: u64,
    ) -> (Self, Counts) {
        let mut places = Vec::with_capacity(table.len());
        let mut counts = Counts::default();
        let mut kinds = Kinds::default();
        let everything = *filter == Filter::default();
        for (index, (_, tracked)) in (0..).zip(table.socks()) {
            let (age, idle) = age_and_idle(tracked, now);
            let stranded = stranded(tracked.state, age, idle);
            let holders = table.holders(tracked);
            let before = places.len();
            for first in firsts(holders) {
                let place = Place { stranded, index, first };
                if everything || place.row(table, now).is_some_and(|row| filter.matches(&row)) {
                    places.push(place);
                    if let Some(holder) = holders.get(first as usize) {
                        *counts.leaked.entry(holder.pid).or_default() += 1;
                    }
                }
            }
            if places.len() > before {
                kinds.add(tracked);
                if let Some(listener) = tracked.listener {
                    *counts.queued.entry(listener).or_default() += 1;
                }
            }
        }
        let mut sockets = Self { table, now, places, kinds };
        sockets.sort(sort);
        (sockets, counts)
    }

    /// Whatever else they are sorted by: among equals, the oldest comes first.
    fn sort(&mut self, sort: SortKey) {
        let table = self.table;
        self.places.sort_unstable_by_key(|place| Reverse(place.stranded));
        for same_age in self.places.chunk_by_mut(|a, b| a.stranded == b.stranded) {
            let sock = |place: &Place| table.get(place.index as usize).map(|(sock, _)| sock);
            same_age.sort_unstable_by_key(|place| (sock(place), place.first));
        }
        match sort {
            SortKey::Age => {}
            SortKey::Pid => self.sort_by(|row| (row.pid.is_none(), row.pid)),
            SortKey::Comm => self.sort_by(|row| row.comm),
            SortKey::Local => self.sort_by(|row| row.local),
            SortKey::Remote => self.sort_by(|row| row.remote),
            SortKey::State => self.sort_by(|row| row.state),
            SortKey::Verdict => self.sort_by(|row| row.verdict),
            SortKey::Unread => self.sort_by(|row| Reverse(row.unread_bytes)),
        }
    }

    fn sort_by<Key: Ord>(&mut self, key: impl Fn(SocketRow<'a>) -> Key) {
        let Self { table, now, places, .. } = self;
        places.sort_by_cached_key(|place| place.row(table, *now).map(&key));
    }

    /// Every row.
    pub fn iter(&self) -> Rows<'_> {
        Rows { table: self.table, now: self.now, places: self.places.iter() }
    }

    /// Every row, so many at a time.
    pub fn chunks(&self, rows: usize) -> impl Iterator<Item = Rows<'_>> {
        let all = self.iter();
        self.places.chunks(rows).map(move |places| Rows { places: places.iter(), ..all.clone() })
    }

    /// Rows of the same table, but none.
    pub fn none(&self) -> Self {
        Self { places: Vec::new(), kinds: Kinds::default(), ..*self }
    }

    /// What there is among them.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl<'a> IntoIterator for &'a Sockets<'_> {
    type Item = SocketRow<'a>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.iter()
    }
}

impl Serialize for Sockets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = SocketRow<'a>;

    fn next(&mut self) -> Option<SocketRow<'a>> {
        self.places.next()?.row(self.table, self.now)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl Place {
    /// The row from this place; `None` for that of another table.
    fn row(self, table: &Table, now: u64) -> Option<SocketRow<'_>> {
        let (sock, tracked) = table.get(self.index as usize)?;
        let (age, idle) = age_and_idle(tracked, now);
        let since = tracked.since;
        let holders = table
            .holders(tracked)
            .get(self.first as usize..)
            .and_then(|rest| same_process(rest).next())
            .unwrap_or_default();
        let pid = holders.first().map(|holder| holder.pid);
        let process = pid.and_then(|pid| table.process(pid));
        Some(SocketRow {
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
            comm: process.map(|process| &*process.comm),
            uid: process.map(|process| process.uid),
            holders,
            ownership: match (pid, tracked.listener) {
                (Some(_), None) => Ownership::Held,
                (Some(_), Some(_)) => Ownership::Listener,
                (None, _) if tracked.ownerless() => Ownership::Kernel,
                (None, _) => Ownership::Unknown,
            },
        })
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

/// Sorted holders, a process at a time with all its descriptors.
pub(super) fn same_process(holders: &[Holder]) -> impl Iterator<Item = &[Holder]> {
    holders.chunk_by(|a, b| a.pid == b.pid)
}

/// Where among sorted holders a process begins; 0 if there is none.
fn firsts(holders: &[Holder]) -> impl Iterator<Item = u32> {
    let begins = |(_, pair): &(u32, &[Holder])| pair[0].pid != pair[1].pid;
    iter::once(0).chain((1..).zip(holders.windows(2)).filter(begins).map(|(at, _)| at))
}
