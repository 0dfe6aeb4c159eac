//! Notes from events on sockets that a scan finds later: the time of an end, and relays.

use super::*;
use crate::live::table::Table;
use crate::live::table::tests::{
    HELD, MS, conn, enters, holder, only, scan, seen, table, transition,
};
use crate::sock::age::{Since, Tick};
use crate::sock::event::{Actor, Record, SockFlags};
use crate::sock::state::StateSet;

const CLIENT: u64 = 1;
const BACKEND: u64 = 2;

/// The descriptor stays: what ends in good order is no reset.
fn ends(ms: u64) -> Transition {
    transition(CLIENT, ms, State::LastAck, State::Close, HELD | SockFlags::SHUT_BOTH)
}

fn ended(ms: u64, idle_ms: u64) -> Record {
    let sock = Sock { state: State::Close, ..seen(CLIENT, ms, idle_ms) };
    Record::Held(holder(7, 3), sock)
}

#[test]
fn an_end_that_was_seen_dates_what_a_scan_finds() {
    let mut table = table();
    table.apply(ends(6_000));
    assert!(table.is_empty(), "most programs close at once");
    scan(&mut table, 10_000, [ended(10_000, 4_000)]);
    assert_eq!(only(&table).since, Since::exactly(6_000 * MS));
    scan(&mut table, 11_000, [ended(11_000, 5_000)]);
    assert_eq!(only(&table).since, Since::exactly(6_000 * MS), "it is not forgotten");
}

#[test]
fn the_end_of_another_connection_dates_nothing() {
    let mut table = table();
    table.apply(Transition { conn: conn(2_000), ..ends(6_000) });
    scan(&mut table, 10_000, [ended(10_000, 4_000)]);
    assert!(!only(&table).since.is_exact());
}

#[test]
fn a_shutdown_is_no_end() {
    let mut table = table();
    table.apply(shuts_down(6_000));
    let sock = Sock { state: State::Close, conn: conn(2_000), ..seen(BACKEND, 10_000, 4_000) };
    scan(&mut table, 10_000, [Record::Held(holder(7, 3), sock)]);
    assert!(!only(&table).since.is_exact());
}

#[test]
fn an_end_is_forgotten_with_its_socket() {
    let mut table = table();
    table.apply(ends(6_000));
    scan(&mut table, 7_000, []);
    scan(&mut table, 10_000, [ended(10_000, 4_000)]);
    assert!(!only(&table).since.is_exact());
}

#[test]
fn an_end_during_a_scan_is_kept_for_the_next() {
    let mut table = table();
    table.begin_scan(5_900 * MS);
    table.apply(ends(6_000));
    table.end_scan(true);
    scan(&mut table, 10_000, [ended(10_000, 4_000)]);
    assert_eq!(only(&table).since, Since::exactly(6_000 * MS));
}

/// Process 7 shuts its sending side to the backend down.
fn shuts_down(ms: u64) -> Transition {
    let flags = (HELD | SockFlags::SHUT_SEND) - SockFlags::PEER_CLOSED;
    let mut shutdown = transition(BACKEND, ms, State::Established, State::FinWait1, flags);
    shutdown.conn = conn(2_000);
    shutdown.actor = Some(Actor { pid: Some(7), comm: "proxy".to_owned(), exiting: false });
    shutdown
}

/// A scan finds the client's socket with process 7, and that of the backend with `backend`.
fn relay_of(mut table: Table, shutdown: Transition, backend: Option<u32>) -> Option<SockPtr> {
    table.apply(enters(CLIENT, 1_000));
    let (conn, flags) = (shutdown.conn, shutdown.flags);
    table.apply(shutdown);
    let half_shut = Sock { state: State::FinWait2, conn, flags, ..seen(BACKEND, 5_000, 4_000) };
    let held = Record::Held(holder(7, 3), seen(CLIENT, 5_000, 4_000));
    let backend = backend.map(|pid| Record::Held(holder(pid, 4), half_shut));
    scan(&mut table, 5_000, [held].into_iter().chain(backend));
    let relay = table.relay(SockPtr(CLIENT));
    assert!(relay.is_none_or(|(_, other)| other.conn == conn));
    relay.map(|(sock, _)| sock)
}

#[test]
fn a_relay_passes_end_of_file_on_at_once() {
    let backend = Some(SockPtr(BACKEND));
    assert_eq!(relay_of(table(), shuts_down(1_000), Some(7)), backend);
    assert_eq!(relay_of(table(), shuts_down(1_010), Some(7)), backend);
    assert_eq!(relay_of(table(), shuts_down(1_011), Some(7)), None, "too late");
    assert_eq!(relay_of(table(), shuts_down(999), Some(7)), None, "before the FIN");
}

#[test]
fn a_relay_is_seen_whatever_states_are_watched() {
    let table = Table::new(StateSet::ALL, Tick { ns: 4 * MS }, 9);
    assert_eq!(relay_of(table, shuts_down(1_001), Some(7)), Some(SockPtr(BACKEND)));
}

#[test]
fn a_relay_holds_both_sockets() {
    assert_eq!(relay_of(table(), shuts_down(1_001), Some(8)), None, "another has it");
    assert_eq!(relay_of(table(), shuts_down(1_001), None), None, "it is closed");
}

#[test]
fn what_another_process_shuts_down_is_no_relay() {
    let mut table = table();
    table.apply(enters(CLIENT, 1_000));
    let Transition { conn, flags, .. } = shuts_down(1_001);
    table.apply(shuts_down(1_001));
    let half_shut = Sock { state: State::FinWait2, conn, flags, ..seen(BACKEND, 5_000, 4_000) };
    let client = Record::Held(holder(8, 3), seen(CLIENT, 5_000, 4_000));
    scan(&mut table, 5_000, [client, Record::Held(holder(7, 4), half_shut)]);
    assert!(table.relay(SockPtr(CLIENT)).is_none());
}

#[test]
fn a_close_passes_nothing_on() {
    let flags = SockFlags::SHUT_BOTH | HELD;
    assert_eq!(relay_of(table(), Transition { flags, ..shuts_down(1_001) }, Some(7)), None);
    assert_eq!(relay_of(table(), Transition { actor: None, ..shuts_down(1_001) }, Some(7)), None);
}

#[test]
fn another_connection_at_the_same_address_is_no_relay() {
    let mut table = table();
    table.apply(enters(CLIENT, 1_000));
    table.apply(shuts_down(1_001));
    let held = Record::Held(holder(7, 3), seen(CLIENT, 5_000, 4_000));
    let flags = HELD | SockFlags::SHUT_SEND;
    let other =
        Sock { state: State::FinWait2, conn: conn(3_000), flags, ..seen(BACKEND, 5_000, 4_000) };
    scan(&mut table, 5_000, [held, Record::Held(holder(7, 4), other)]);
    assert!(table.relay(SockPtr(CLIENT)).is_none());
}
