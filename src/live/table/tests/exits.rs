//! A holder that has exited holds nothing, whatever the last scan saw.

use super::*;

fn process(pid: Pid, start_time: u64) -> Record {
    Record::Process(pid, Process { start_time, ..Process::default() })
}

/// Two processes hold the socket; only the first holds the second socket.
fn held_by_two() -> Table {
    let mut table = table();
    let (shared, own) = (seen(1, 600, 100), Sock { conn: conn(1001), ..seen(2, 600, 100) });
    let held = |pid, sock: &Sock| Record::Held(holder(pid, 3), sock.clone());
    let records =
        [held(7, &shared), held(7, &own), process(7, 10), held(8, &shared), process(8, 20)];
    scan(&mut table, 600, records);
    table
}

fn holders(table: &Table, sock: u64) -> Vec<Pid> {
    table.holders(&table.socks[&SockPtr(sock)]).iter().map(|holder| holder.pid).collect()
}

#[test]
fn who_has_exited_holds_nothing() {
    let mut table = held_by_two();
    table.absorb(Record::Exit(7, 10));
    assert!(!table.forget_exited(), "an event will tell of both");
    assert_eq!((holders(&table, 1), holders(&table, 2)), (vec![8], vec![]));
    assert!(table.process(7).is_none() && table.process(8).is_some());
    assert!(table.needs_scan(900 * MS), "somebody else may have the second one");
    table.apply(Transition { conn: conn(1001), ..leaves(2, 700) });
    assert!(!table.needs_scan(900 * MS));
    table.absorb(Record::Exit(8, 20));
    table.forget_exited();
    scan(&mut table, 1_000, []);
    assert!(!table.needs_scan(2_000 * MS) && table.is_empty() && !table.has_holders());
}

#[test]
fn another_process_of_that_number_goes_on_holding() {
    let mut table = held_by_two();
    table.absorb(Record::Exit(8, 19));
    table.absorb(Record::Exit(9, 1));
    assert!(!table.forget_exited());
    assert_eq!(holders(&table, 1), [7, 8]);
    // A scan that failed to see a process exit is not believed any longer either.
    table.absorb(Record::Exit(8, 21));
    table.forget_exited();
    assert_eq!(holders(&table, 1), [7]);
}

#[test]
fn an_exit_during_a_scan_counts_after_it() {
    let mut table = held_by_two();
    let sock = seen(1, 700, 100);
    table.begin_scan(650 * MS);
    table.absorb(Record::Exit(7, 10));
    table.absorb(Record::Exit(8, 20));
    for pid in [7, 8] {
        table.absorb(Record::Held(holder(pid, 3), sock.clone()));
    }
    // The number of the second is in use again.
    [process(7, 10), process(8, 30)].into_iter().for_each(|record| table.absorb(record));
    table.end_scan(true);
    table.forget_exited();
    assert_eq!(holders(&table, 1), [8]);
}

#[test]
fn what_no_event_follows_goes_with_its_last_holder() {
    for (flags, is_urgent) in [(HELD, true), (HELD - SockFlags::CONNECTED, false)] {
        let mut table = table();
        let sock = Sock { state: State::Close, flags, err: 104, ..seen(1, 600, 100) };
        scan(&mut table, 600, [Record::Held(holder(7, 3), sock), process(7, 10)]);
        assert_eq!(table.len(), 1);
        table.absorb(Record::Exit(7, 10));
        assert!(table.forget_exited(), "another scan has to look for it");
        assert!(table.is_empty());
        assert_eq!(table.needs_scan(700 * MS), is_urgent);
        scan(&mut table, 800, []);
        assert!(!table.needs_scan(900 * MS));
    }
}

#[test]
fn a_listener_loses_its_holders_too() {
    let mut table = table();
    let waits = Sock { flags: QUEUED, ..seen(1, 600, 100) };
    let listens = |pid| Record::Listener(holder(pid, 4), listener(9, 80));
    let records =
        [listens(7), listens(8), process(7, 10), process(8, 20), Record::Queued(SockPtr(9), waits)];
    scan(&mut table, 600, records);
    table.absorb(Record::Exit(7, 10));
    table.forget_exited();
    assert_eq!(holders(&table, 1), [8]);
    assert!(!table.needs_scan(900 * MS));
    table.absorb(Record::Exit(8, 20));
    table.forget_exited();
    assert!(holders(&table, 1).is_empty());
    assert!(table.needs_scan(900 * MS));
}
