//! The rows of a report: which sockets, in which order.
//!
//! A row takes 300 bytes, and there may be a hundred thousand of them: to have them all in memory
//! would take longer than to make them. So a report knows their places in the table, and makes a
//! row each time that somebody asks for it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter;
use std::slice;

use serde::{Serialize, Serializer};

use super::counts::Counts;
use super::query::{Peers, Query, Shown, SortKey};
use super::row::{self, AgeIs, Holders, Oldest, Relay, SocketRow};
use crate::live::table::{Table, Tracked};
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::event::{Holder, Pid};
use crate::sock::leak::{Class, Judgement, Verdict};
use crate::sock::state::State;

/// A row for each socket and process that holds it; for a connection in an accept queue, one.
#[derive(Clone, Debug)]
pub struct Sockets<'a> {
    context: Context<'a>,
    places: Vec<Place>,
    kinds: Kinds,
}

/// Context from which all rows of a report are made.
#[derive(Clone, Copy, Debug)]
struct Context<'a> {
    table: &'a Table,
    now: u64,
    idle: u64,
    /// Where in the table each connection is, if peers were asked for.
    peers: Option<&'a Peers>,
}

/// The distinct states, namespaces and verdicts of rows: they decide the columns.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// Their states.
    pub states: BTreeSet<State>,
    /// Their network namespaces.
    pub netns: BTreeSet<u32>,
    /// Their verdicts.
    pub verdicts: BTreeSet<Verdict>,
    /// True if some unread bytes may be a farewell.
    pub has_farewell: bool,
    /// True if there are rows of which the program never read anything.
    pub has_never_read: bool,
    /// True if there are rows of which idleness counts,
    pub by_idleness: bool,
    /// and others.
    pub by_age: bool,
    /// The kind of the last row: most are like the one before.
    last: Option<(State, u32, Option<Verdict>)>,
}

/// Where in the table a row comes from.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The length of time that counts: what most reports are sorted by.
    lasting: u64,
    /// Which socket of the table.
    index: u32,
    /// Where among the holders of the socket this process begins; for a connection in an accept
    /// queue, where its oldest is.
    first: u32,
}

/// Facts of a row that are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    /// Which socket of the table.
    pub(super) index: u32,
    /// The holder.
    pub(super) pid: Option<Pid>,
    /// The class.
    pub(super) class: Class,
    /// True if it waits in an accept queue.
    pub(super) is_queued: bool,
}

/// Rows, one after the other.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    context: Context<'a>,
    places: slice::Iter<'a, Place>,
}

impl Kinds {
    fn add(&mut self, tracked: &Tracked, verdict: Option<Verdict>) {
        self.has_farewell |= row::maybe_farewell(tracked, verdict);
        self.has_never_read |= row::was_never_read(tracked);
        let kind @ (state, netns, _) = (tracked.state, tracked.conn.netns, verdict);
        if self.last.replace(kind) != Some(kind) {
            self.states.insert(state);
            self.netns.insert(netns);
            self.verdicts.extend(verdict);
            let by_idleness = row::is_by_idleness(state, verdict);
            self.by_idleness |= by_idleness;
            self.by_age |= !by_idleness;
        }
    }
}

impl<'a> Sockets<'a> {
    /// The rows that the query asks for, sorted; and what was counted on the way.
    pub(super) fn build(
        table: &'a Table,
        query: &Query,
        peers: Option<&'a Peers>,
        now: u64,
    ) -> (Self, Counts) {
        let context = Context { table, now, idle: query.idle, peers };
        let mut places = Vec::with_capacity(table.len());
        let mut counts = Counts::default();
        let mut kinds = Kinds::default();
        let is_filtered = !query.filter.is_empty();
        for (index, (sock, tracked)) in (0..).zip(table.socks()) {
            let judgement @ (class, verdict) = context.judge(sock, tracked);
            let has_settled = tracked.has_settled(now, query.settle);
            if has_settled {
                counts.add_descriptors(tracked, judgement);
            }
            let counts_at_all = has_settled && class != Class::InUse;
            let is_shown = match query.shown {
                Shown::Leaked => has_settled && class == Class::Leaked,
                Shown::Stranded => counts_at_all,
                Shown::States(states) => states.contains(tracked.state),
            };
            if !is_shown && !counts_at_all {
                continue;
            }
            let before = places.len();
            let mut passes = false;
            let (mut may_miss, mut is_in_doubt, mut is_undated) = (false, false, false);
            let mut may_be_known = false;
            let lasting = context.lasting(tracked, verdict);
            let by_age = !row::is_by_idleness(tracked.state, verdict);
            let at_least = by_age && !tracked.since.is_exact();
            for first in firsts(table, tracked) {
                let place = Place { lasting, index, first };
                let row = || context.row(place, sock, tracked, judgement);
                if is_filtered && !query.filter.matches(&row()) {
                    if class == Class::Leaked {
                        may_miss |= query.filter.may_miss(&row());
                        is_in_doubt |= query.filter.is_in_doubt(&row());
                        is_undated |= query.filter.may_be_older(&row());
                    }
                    continue;
                }
                passes = true;
                may_be_known |= class == Class::Leaked && query.filter.may_be_known(&row());
                let pid = table.holders(tracked).get(first as usize).map(|holder| holder.pid);
                if counts_at_all {
                    counts.add_holder(pid, tracked, class);
                }
                if is_shown {
                    places.push(place);
                    counts.add_row(pid, tracked, Oldest { lasting, at_least });
                }
            }
            counts.undated += usize::from(is_undated && has_settled && !passes);
            counts.without_owner += usize::from(has_settled && may_miss && !passes);
            counts.without_identity +=
                usize::from(has_settled && is_in_doubt && !may_miss && !passes);
            counts.perhaps_known += usize::from(has_settled && may_be_known);
            if passes && counts_at_all {
                counts.add_socket(tracked, judgement);
            }
            if places.len() > before {
                kinds.add(tracked, verdict);
            }
        }
        let mut sockets = Self { context, places, kinds };
        sockets.sort(query.sort);
        (sockets, counts)
    }

    /// Sorts the rows; among equals the oldest comes first.
    fn sort(&mut self, sort: SortKey) {
        let table = self.context.table;
        self.places.sort_unstable_by_key(|place| Reverse(place.lasting));
        for same_age in self.places.chunk_by_mut(|a, b| a.lasting == b.lasting) {
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
        let Self { context, places, .. } = self;
        places.sort_by_cached_key(|&place| context.row_at(place).map(&key));
    }

    /// Every row.
    pub fn iter(&self) -> Rows<'_> {
        Rows { context: self.context, places: self.places.iter() }
    }

    /// Rows from the beginning, this many.
    pub fn first(&self, rows: usize) -> Rows<'_> {
        let places = self.places.get(..rows).unwrap_or(&self.places);
        Rows { places: places.iter(), ..self.iter() }
    }

    /// Every row, so many at a time.
    pub fn chunks(&self, rows: usize) -> impl Iterator<Item = Rows<'_>> {
        let all = self.iter();
        self.places.chunks(rows).map(move |places| Rows { places: places.iter(), ..all.clone() })
    }

    /// The facts that are counted of every row: they take less time than rows do.
    pub(super) fn brief(&self) -> impl Iterator<Item = Brief> {
        let context = self.context;
        self.places.iter().filter_map(move |&Place { index, first, .. }| {
            let (sock, tracked) = context.table.get(index as usize)?;
            let holder = context.table.holders(tracked).get(first as usize);
            Some(Brief {
                index,
                pid: holder.map(|holder| holder.pid),
                class: context.judge(sock, tracked).0,
                is_queued: tracked.listener.is_some(),
            })
        })
    }

    /// Rows of the same table, but none.
    pub fn none(&self) -> Self {
        Self { places: Vec::new(), kinds: Kinds::default(), ..*self }
    }

    /// The kinds of rows that there are.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Returns true if the holders of the other ends were asked for.
    pub fn has_peers(&self) -> bool {
        self.context.peers.is_some()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true if there are none.
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
        self.context.row_at(*self.places.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl<'a> Context<'a> {
    fn judge(&self, sock: SockPtr, tracked: &Tracked) -> Judgement {
        tracked.judge(self.now, self.idle, self.table.relay(sock).is_some())
    }

    /// The length of time that counts; see [`SocketRow::lasting`].
    fn lasting(&self, tracked: &Tracked, verdict: Option<Verdict>) -> u64 {
        if row::is_by_idleness(tracked.state, verdict) {
            self.idle(tracked).unwrap_or(0)
        } else {
            self.now.saturating_sub(tracked.since.latest)
        }
    }

    fn idle(&self, tracked: &Tracked) -> Option<u64> {
        (tracked.last_data != 0).then(|| self.now.saturating_sub(tracked.last_data))
    }

    /// The row from this place; `None` for that of another table.
    fn row_at(&self, place: Place) -> Option<SocketRow<'a>> {
        let (sock, tracked) = self.table.get(place.index as usize)?;
        Some(self.row(place, sock, tracked, self.judge(sock, tracked)))
    }

    fn row(
        &self,
        place: Place,
        sock: SockPtr,
        tracked: &'a Tracked,
        (class, verdict): Judgement,
    ) -> SocketRow<'a> {
        let Self { table, now, .. } = *self;
        let first = place.first as usize;
        let all = table.holders(tracked);
        let pid = all.get(first).map(|holder| holder.pid);
        // Whoever holds the listener holds what is in its queue.
        let own = if tracked.listener.is_some() { all } else { own(all, first) };
        let holders = Holders::new(table, pid, own);
        let ring = holders.in_ring();
        let process = pid.and_then(|pid| table.process(pid));
        let peer = self.peer(&tracked.conn);
        let relay = table.relay(sock).map(|(sock, other)| Relay {
            sock,
            local: other.conn.local,
            remote: other.conn.remote,
        });
        let was_seen = tracked.seen != 0 && !tracked.flags.read_by_mptcp();
        let since = tracked.since;
        SocketRow {
            sock,
            cookie: tracked.cookie,
            netns: tracked.conn.netns,
            family: tracked.conn.family(),
            direction: row::direction(tracked.state, tracked.flags, tracked.listener.is_some()),
            local: tracked.conn.local,
            remote: tracked.conn.remote,
            state: tracked.state,
            class,
            verdict,
            unread_bytes: tracked.unread_bytes(),
            maybe_farewell: row::maybe_farewell(tracked, verdict),
            was_never_read: row::was_never_read(tracked),
            bytes_received: was_seen.then(|| tracked.data_received()),
            bytes_acked: was_seen.then_some(tracked.bytes_acked),
            age: now.saturating_sub(since.latest),
            age_is: if since.is_exact() { AgeIs::Exact } else { AgeIs::AtLeast },
            age_at_most: (since.earliest != 0).then(|| now.saturating_sub(since.earliest)),
            idle: self.idle(tracked),
            pid,
            comm: process.map(|process| &*process.comm),
            uid: process.map(|process| process.uid),
            holders,
            holders_omitted: table.holders_omitted(tracked),
            ownership: row::ownership(tracked, pid),
            ring_fd: ring.map(|holder| holder.fd),
            ring_slot: ring.and_then(|holder| holder.slot),
            inherited: tracked.listener.is_none()
                && process.is_some_and(|process| tracked.was_held_before(process.start_time)),
            relay: relay.filter(|_| verdict == Some(Verdict::Relayed)),
            peer_pid: peer,
            peer_comm: peer.and_then(|pid| table.process(pid)).map(|process| &*process.comm),
        }
    }

    /// Who holds the other end of this connection.
    fn peer(&self, conn: &Conn) -> Option<Pid> {
        let (_, tracked) = self.table.get(*self.peers?.get(&conn.reversed())? as usize)?;
        oldest(self.table, self.table.holders(tracked)).map(|holder| holder.pid)
    }
}

/// Sorted holders, a process at a time with all its descriptors.
pub(super) fn by_process(holders: &[Holder]) -> impl Iterator<Item = &[Holder]> {
    holders.chunk_by(|a, b| a.pid == b.pid)
}

/// The holder whose process began first.
pub(super) fn oldest<'a>(table: &Table, holders: &'a [Holder]) -> Option<&'a Holder> {
    let began = |holder: &&Holder| {
        let process = table.process(holder.pid);
        (process.map_or(u64::MAX, |process| process.start_time), **holder)
    };
    holders.iter().min_by_key(began)
}

/// From this place on, the descriptors of one process.
fn own(holders: &[Holder], first: usize) -> &[Holder] {
    let rest = holders.get(first..).unwrap_or_default();
    by_process(rest).next().unwrap_or_default()
}

/// Where among the holders of a socket each of its rows begins; 0 if there is none.
fn firsts<'a>(table: &'a Table, tracked: &'a Tracked) -> impl Iterator<Item = u32> + use<'a> {
    let holders = table.holders(tracked);
    let is_queued = tracked.listener.is_some();
    let at = |holder: &Holder| holders.iter().position(|other| other == holder);
    let one = if is_queued { oldest(table, holders).and_then(at) } else { None };
    let one = u32::try_from(one.unwrap_or(0)).unwrap_or(0);
    let begins = |(_, pair): &(u32, &[Holder])| pair[0].pid != pair[1].pid;
    let rest = (1..).zip(holders.windows(2)).filter(begins).map(|(at, _)| at);
    iter::once(one).chain(rest.take_while(move |_| !is_queued))
}
