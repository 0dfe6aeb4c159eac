//! Properties of the table: how events and scans meet.

mod any_order;
mod candidates;
mod exits;

use std::num::NonZeroU64;

use super::*;
use crate::sock::conn::{Conn, Endpoint};
use crate::sock::event::{Progress, SockFlags, Stamps};
use crate::sock::leak::Verdict;

pub(in crate::live) const MS: u64 = 1_000_000;
pub(in crate::live) const TICK: Tick = Tick { ns: 4 * MS };

const PEER_CLOSED: SockFlags = SockFlags::PEER_CLOSED;
const SHUT_BOTH: SockFlags = SockFlags::SHUT_BOTH;
/// Flags of a connection in an accept queue, whose peer has gone.
pub(in crate::live) const QUEUED: SockFlags = PEER_CLOSED.union(SockFlags::CONNECTED);
/// The same with a descriptor.
pub(in crate::live) const HELD: SockFlags =
    QUEUED.union(SockFlags::HAS_SOCKET).union(SockFlags::HAS_FILE);

pub(in crate::live) fn table() -> Table {
    Table::new(StateSet::NONE, TICK, 100)
}

pub(in crate::live) fn conn(port: u16) -> Conn {
    let end = |port| Endpoint::new([0; 16], port);
    Conn { local: end(80), remote: end(port), netns: 1 }
}

pub(in crate::live) fn transition(
    sock: u64,
    ms: u64,
    old: State,
    new: State,
    flags: SockFlags,
) -> Transition {
    Transition {
        ktime: ms * MS,
        sock: SockPtr(sock),
        conn: conn(1000),
        cookie: None,
        old,
        new,
        flags,
        progress: Progress::default(),
        err: 0,
        actor: None,
    }
}

pub(in crate::live) fn enters(sock: u64, ms: u64) -> Transition {
    transition(sock, ms, State::Established, State::CloseWait, HELD)
}

pub(in crate::live) fn leaves(sock: u64, ms: u64) -> Transition {
    transition(sock, ms, State::CloseWait, State::LastAck, HELD | SHUT_BOTH)
}

/// A socket that has received nothing since `idle_ms` before the scan.
pub(in crate::live) fn seen(sock: u64, ms: u64, idle_ms: u64) -> Sock {
    let jiffies = |ms: u64| u32::try_from(ms / 4).unwrap();
    Sock {
        sock: SockPtr(sock),
        conn: conn(1000),
        cookie: None,
        state: State::CloseWait,
        flags: HELD,
        progress: Progress::default(),
        unread: 0,
        bytes_received: 0,
        bytes_acked: 0,
        err: 0,
        stamps: Stamps {
            ktime: ms * MS,
            jiffies: jiffies(ms),
            mstamp: (ms - idle_ms) * 1_000,
            rcv_tstamp: jiffies(ms - idle_ms),
            lrcvtime: jiffies(ms - idle_ms),
            lsndtime: jiffies(ms - idle_ms),
            ..Stamps::default()
        },
    }
}

pub(in crate::live) fn holder(pid: Pid, fd: u32) -> Holder {
    Holder::at(pid, fd)
}

/// A complete scan at this time.
pub(in crate::live) fn scan(table: &mut Table, ms: u64, records: impl IntoIterator<Item = Record>) {
    table.begin_scan(ms * MS);
    records.into_iter().for_each(|record| table.absorb(record));
    table.end_scan(true);
}

pub(in crate::live) fn only(table: &Table) -> &Tracked {
    assert_eq!(table.len(), 1);
    table.socks().next().unwrap().1
}

/// The verdict of the only socket, once whatever moves has stood still for long.
fn verdict(table: &Table) -> Option<Verdict> {
    only(table).judge(u64::MAX, 60_000 * MS, false).1
}

#[test]
fn a_transition_says_since_when_and_a_scan_says_who() {
    let mut table = table();
    table.apply(enters(1, 500));
    assert!(table.needs_scan(600 * MS));
    assert_eq!(verdict(&table), None, "nobody has looked what is unread");
    scan(&mut table, 600, [Record::Held(holder(7, 3), seen(1, 600, 100))]);
    assert!(!table.needs_scan(700 * MS));
    let tracked = only(&table);
    assert_eq!(tracked.since, Since::exactly(500 * MS));
    assert_eq!(table.holders(tracked), [holder(7, 3)]);
    assert_eq!(verdict(&table), Some(Verdict::EofRead));
    table.apply(leaves(1, 700));
    assert!(table.is_empty());
}

#[test]
fn what_was_there_first_has_bounds() {
    let mut table = table();
    scan(&mut table, 10_000, [Record::Held(holder(7, 3), seen(1, 10_000, 2_000))]);
    let since = only(&table).since;
    assert!(!since.is_exact() && since.allows(8_000 * MS));
    assert!(!since.allows(7_400 * MS) && !since.allows(8_600 * MS));
}

#[test]
fn a_scan_forgets_what_it_does_not_see() {
    let mut table = table();
    table.apply(enters(1, 500));
    scan(&mut table, 600, []);
    assert!(table.is_empty());
}

#[test]
fn a_scan_does_not_delete_what_entered_while_it_ran() {
    let mut table = table();
    table.begin_scan(600 * MS);
    table.apply(enters(1, 601));
    table.end_scan(true);
    assert_eq!(only(&table).since, Since::exactly(601 * MS));
    assert!(table.needs_scan(u64::MAX));
}

#[test]
fn a_socket_that_left_after_it_was_seen_is_gone() {
    let mut table = table();
    table.begin_scan(600 * MS);
    table.absorb(Record::Held(holder(7, 3), seen(1, 601, 10)));
    table.apply(leaves(1, 650));
    table.end_scan(true);
    assert!(table.is_empty());
}

#[test]
fn an_old_departure_does_not_delete_a_new_socket_at_the_same_address() {
    let mut table = table();
    table.begin_scan(600 * MS);
    table.absorb(Record::Held(holder(7, 3), seen(1, 660, 10)));
    table.apply(leaves(1, 601));
    table.end_scan(true);
    assert_eq!(table.holders(only(&table)), [holder(7, 3)]);
}

/// An entry that was held back is newer than what has come through the ring since.
#[test]
fn a_departure_that_was_overtaken_does_not_delete_a_new_socket() {
    let mut table = table();
    table.apply(enters(1, 1_000));
    table.apply(enters(1, 1_020));
    table.apply(leaves(1, 1_010));
    assert_eq!(only(&table).since, Since::exactly(1_020 * MS));
    table.apply(leaves(1, 1_030));
    assert!(table.is_empty());
}

#[test]
fn another_cookie_or_tuple_is_another_socket() {
    let mut table = table();
    table.apply(enters(1, 500));
    let mut other = seen(1, 600, 20);
    other.conn = conn(2000);
    scan(&mut table, 600, [Record::Held(holder(7, 3), other.clone())]);
    assert_ne!(only(&table).since, Since::exactly(500 * MS));
    other.cookie = NonZeroU64::new(5);
    scan(&mut table, 700, [Record::Held(holder(7, 3), other.clone())]);
    let first = only(&table).since;
    other.cookie = NonZeroU64::new(6);
    other.stamps = seen(1, 800, 10).stamps;
    scan(&mut table, 800, [Record::Held(holder(7, 3), other)]);
    assert!(only(&table).since.latest > first.latest);
}

#[test]
fn holders_are_those_of_the_last_scan() {
    let mut table = table();
    let sock = |ms| seen(1, ms, 10);
    let both = [holder(7, 4), holder(7, 3), holder(9, 3), holder(7, 3)];
    scan(&mut table, 600, both.map(|holder| Record::Held(holder, sock(600))));
    assert_eq!(table.holders(only(&table)), [holder(7, 3), holder(7, 4), holder(9, 3)]);
    scan(&mut table, 700, [Record::Held(holder(9, 3), sock(700))]);
    assert_eq!(table.holders(only(&table)), [holder(9, 3)]);
}

pub(in crate::live) fn listener(sock: u64, port: u16) -> Listener {
    let conn = Conn { local: Endpoint::new([0; 16], port), ..conn(0) };
    Listener { sock: SockPtr(sock), conn, backlog: 1, max_backlog: 1 }
}

#[test]
fn a_queued_socket_belongs_to_its_listeners_holders_until_it_is_accepted() {
    let mut table = table();
    let waiting = Sock { flags: QUEUED, ..seen(1, 600, 10) };
    let records = [
        Record::Listener(holder(7, 3), listener(9, 80)),
        Record::Listener(holder(8, 3), listener(9, 80)),
        Record::Queued(SockPtr(9), waiting.clone()),
        Record::Unheld(waiting.clone()),
    ];
    scan(&mut table, 600, records);
    let tracked = only(&table);
    assert_eq!(verdict(&table), Some(Verdict::NeverAccepted));
    assert_eq!(table.holders(tracked), [holder(7, 3), holder(8, 3)]);

    scan(&mut table, 700, [Record::Held(holder(7, 5), seen(1, 700, 10))]);
    assert_eq!(verdict(&table), Some(Verdict::EofRead));
    assert_eq!(table.holders(only(&table)), [holder(7, 5)]);
}

#[test]
fn a_walk_that_strayed_into_another_queue_is_not_believed() {
    let mut table = table();
    let waiting = Sock { flags: QUEUED, ..seen(1, 600, 10) };
    let records = [
        Record::Listener(holder(7, 3), listener(9, 443)),
        Record::Queued(SockPtr(9), waiting),
        Record::Queued(SockPtr(9), seen(2, 600, 10)),
    ];
    scan(&mut table, 600, records);
    assert!(table.is_empty());
}

#[test]
fn a_reset_keeps_the_row_and_its_age() {
    let mut table = table();
    table.apply(enters(1, 500));
    let mut reset = transition(1, 900, State::CloseWait, State::Close, HELD);
    reset.err = 32;
    table.apply(reset.clone());
    assert_eq!(verdict(&table), Some(Verdict::Reset));
    assert_eq!(only(&table).since, Since::exactly(500 * MS));

    let mut sock = seen(1, 1_000, 500);
    (sock.state, sock.err) = (State::Close, 32);
    scan(&mut table, 1_000, [Record::Held(holder(7, 3), sock)]);
    assert_eq!(only(&table).since, Since::exactly(500 * MS));
    scan(&mut table, 1_100, []);
    assert!(table.is_empty(), "its last descriptor is closed");

    table.apply(reset);
    assert_eq!(only(&table).since.earliest, 0, "its entry was not seen");
}

#[test]
fn a_close_is_never_a_reset() {
    // With data unread; by disconnect(); of a listener with its queue.
    for flags in [HELD | SHUT_BOTH, HELD, QUEUED] {
        let mut table = table();
        table.apply(enters(1, 500));
        table.apply(transition(1, 600, State::CloseWait, State::Close, flags));
        assert!(table.is_empty(), "{flags:?}");
    }
}

#[test]
fn a_reset_in_the_queue_keeps_its_row_and_listener() {
    let mut table = table();
    let waiting = Sock { flags: QUEUED, ..seen(1, 600, 10) };
    let records =
        [Record::Listener(holder(7, 3), listener(9, 80)), Record::Queued(SockPtr(9), waiting)];
    scan(&mut table, 600, records);
    let mut reset = transition(1, 900, State::CloseWait, State::Close, QUEUED);
    reset.err = 32;
    table.apply(reset);
    assert_eq!(verdict(&table), Some(Verdict::NeverAccepted));
    assert_eq!(table.holders(only(&table)), [holder(7, 3)]);
}

#[test]
fn what_is_about_to_leave_is_no_reason_to_scan() {
    let mut table = table();
    table.apply(enters(1, 500));
    assert!(!table.needs_scan(599 * MS) && table.is_in_doubt(599 * MS, 0));
    assert!(table.needs_scan(600 * MS) && !table.is_in_doubt(600 * MS, 0));
    table.apply(enters(2, 650));
    assert!(table.needs_scan(650 * MS), "the other is still there");
}

#[test]
fn a_descriptor_in_flight_leaves_a_row_without_owner() {
    let mut table = table();
    scan(&mut table, 600, [Record::Held(holder(7, 3), seen(1, 600, 10))]);
    scan(&mut table, 700, [Record::Unheld(seen(1, 700, 10))]);
    let tracked = only(&table);
    assert!(table.holders(tracked).is_empty() && !tracked.ownerless());
    assert!(table.has_missing_owners());
}

#[test]
fn what_is_about_to_leave_is_not_looked_for() {
    let mut table = table();
    table.apply(enters(1, 500));
    table.begin_scan(550 * MS);
    assert!(!table.has_missed());
    table.end_scan(false);
    assert_eq!(table.len(), 1);
    table.begin_scan(600 * MS);
    assert!(table.has_missed());
    table.end_scan(true);
    assert!(table.is_empty());
}

#[test]
fn what_a_scan_passes_over_has_to_be_what_is_held() {
    let mut table = table();
    table.begin_scan(500 * MS);
    table.absorb(Record::Held(holder(7, 6), seen(80, 510, 10)));
    table.begin_scan(600 * MS);
    table.absorb(Record::Held(holder(7, 3), seen(10, 610, 10)));
    table.absorb(Record::Held(holder(7, 4), seen(20, 610, 10)));
    table.absorb(Record::Held(holder(8, 4), seen(20, 610, 10)));
    // A destroyed socket is in no hash table.
    let mut destroyed = seen(40, 610, 10);
    destroyed.state = State::Close;
    table.absorb(Record::Held(holder(7, 5), destroyed));
    let sums = |socks: &[u64]| socks.iter().copied().map(SockPtr).collect();
    assert_eq!(table.held(), sums(&[10, 20]));
}

/// Most programs close such a one at once, and no transition tells of it.
#[test]
fn what_ends_while_a_scan_reads_it_is_forgotten_once() {
    let mut table = table();
    let ended = |ms: u64, idle_ms: u64, err: u16| {
        let mut sock = seen(1, ms, idle_ms);
        (sock.state, sock.err) = (State::Close, err);
        [Record::Held(holder(7, 3), sock)]
    };
    scan(&mut table, 1_000, ended(1_000, 20, 0));
    assert_eq!(table.len(), 1, "it is true now");
    assert!(table.forget_ending());
    assert!(table.is_empty());
    scan(&mut table, 6_000, ended(6_000, 5_020, 0));
    assert!(!table.forget_ending());
    assert_eq!(table.len(), 1, "it has stayed");
    scan(&mut table, 7_000, ended(7_000, 20, 104));
    assert!(!table.forget_ending(), "a reset was told");
    scan(&mut table, 8_000, [Record::Held(holder(7, 3), seen(1, 8_000, 20))]);
    assert!(!table.forget_ending(), "of this, the end will be told");
}

#[test]
fn a_scan_that_failed_half_way_deletes_nothing() {
    let mut table = table();
    table.apply(enters(1, 500));
    table.begin_scan(600 * MS);
    table.apply(enters(2, 650));
    table.begin_scan(700 * MS);
    table.end_scan(false);
    assert_eq!(table.len(), 1, "but what this one has not found");
}

#[test]
fn a_full_table_says_so_until_there_is_room() {
    let mut table = Table::new(StateSet::NONE, TICK, 2);
    (1..=3).for_each(|sock| table.apply(enters(sock, 500)));
    assert_eq!(table.len(), 2);
    assert!(table.is_full());
    scan(&mut table, 600, [Record::Held(holder(7, 3), seen(1, 600, 100))]);
    assert!(!table.is_full());
}

#[test]
fn connect_chooses_its_port_late() {
    let mut table = Table::new(StateSet::ALL, TICK, 9);
    let flags = SockFlags::HAS_SOCKET | SockFlags::HAS_FILE;
    let mut syn = transition(1, 500, State::Close, State::SynSent, flags);
    syn.conn.local.port = 0;
    table.apply(syn);
    table.apply(transition(1, 600, State::SynSent, State::Established, flags));
    assert_eq!(only(&table).conn.local.port, 80);
    assert_eq!(only(&table).since, Since::exactly(600 * MS));
}

#[test]
fn an_entry_costs_little() {
    assert!(size_of::<Tracked>() <= 248, "{}", size_of::<Tracked>());
}
