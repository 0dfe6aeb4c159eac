//! Sockets that are in the table without an event: what can have a verdict, in whatever state.

use super::*;

/// As a scan sees it, quiet for long.
fn in_state(state: State, flags: SockFlags) -> Sock {
    Sock { state, flags, ..seen(1, 90_000, 70_000) }
}

fn half_shut() -> Sock {
    in_state(State::FinWait2, HELD | SockFlags::SHUT_SEND)
}

fn dead() -> Sock {
    in_state(State::Close, HELD)
}

fn holds(sock: &Sock) -> Record {
    Record::Held(holder(7, 3), sock.clone())
}

#[test]
fn a_scan_takes_candidates_and_what_was_asked_for() {
    let healthy = in_state(State::Established, HELD - PEER_CLOSED);
    for (watched, len) in [(StateSet::NONE, 0), (State::Established.into(), 1)] {
        let mut table = Table::new(watched, TICK, 9);
        scan(&mut table, 90_000, [holds(&healthy)]);
        assert_eq!(table.len(), len);
    }
    let silent = in_state(State::Established, HELD | SockFlags::UNANSWERED);
    for (sock, verdict) in
        [(half_shut(), Verdict::HalfShut), (dead(), Verdict::Dead), (silent, Verdict::Unanswered)]
    {
        let mut table = table();
        scan(&mut table, 90_000, [holds(&sock)]);
        assert_eq!(super::verdict(&table), Some(verdict));
        assert_eq!(table.holders(only(&table)), [holder(7, 3)]);
    }
}

/// No event tells when they leave their states: a scan of all descriptors that misses them is enough.
#[test]
fn what_no_event_follows_vanishes_without_a_walk() {
    for sock in [half_shut(), dead()] {
        let mut table = table();
        scan(&mut table, 90_000, [holds(&sock)]);
        table.begin_scan(95_000 * MS);
        assert!(!table.has_missed(), "{}", sock.state);
        table.end_scan(false);
        assert!(table.is_empty(), "{}", sock.state);
    }
}

#[test]
fn what_events_follow_is_walked_for() {
    let asked_for = State::FinWait2.into();
    for (watched, sock) in [(asked_for, half_shut()), (StateSet::NONE, seen(1, 90_000, 70_000))] {
        let mut table = Table::new(watched, TICK, 9);
        scan(&mut table, 90_000, [holds(&sock)]);
        table.begin_scan(95_000 * MS);
        assert!(table.has_missed(), "{}", sock.state);
    }
}

#[test]
fn sums_are_of_what_the_state_alone_makes_wanted() {
    let mut table = table();
    table.begin_scan(90_000 * MS);
    let sock =
        |address, state, flags| holds(&Sock { sock: SockPtr(address), ..in_state(state, flags) });
    table.absorb(sock(10, State::CloseWait, HELD));
    table.absorb(sock(20, State::FinWait1, HELD));
    table.absorb(sock(40, State::Established, HELD | SockFlags::UNANSWERED));
    table.absorb(sock(80, State::CloseWait, HELD | SockFlags::MPTCP));
    table.absorb(sock(160, State::Close, HELD));
    assert_eq!(table.held(), [10, 20].map(SockPtr).into_iter().collect());
}

#[test]
fn a_queue_that_is_empty_again_leaves_its_connection_without_owner() {
    let mut table = table();
    let waiting = in_state(State::Established, QUEUED - PEER_CLOSED);
    let queue = [
        Record::Listener(holder(7, 3), listener(9, 80)),
        Record::Queued(SockPtr(9), waiting.clone()),
    ];
    scan(&mut table, 90_000, queue);
    assert_eq!(verdict(&table), Some(Verdict::Unaccepted));
    assert!(!table.has_missing_owners());
    scan(&mut table, 95_000, [Record::Unheld(waiting)]);
    assert!(table.has_missing_owners() && table.holders(only(&table)).is_empty());
}

/// The kernel opens MPTCP's listeners, and their children have that flag; of a subflow, the queue alone
/// proves that it waits.
#[test]
fn what_waits_at_a_listener_of_mptcp_waits_for_a_program() {
    for (flags, state, wanted) in [
        (SockFlags::KERNEL, State::Established, Verdict::Unaccepted),
        (SockFlags::KERNEL | SockFlags::SUBFLOW, State::Established, Verdict::Unaccepted),
        (SockFlags::KERNEL | SockFlags::SUBFLOW, State::CloseWait, Verdict::NeverAccepted),
        (SockFlags::KERNEL | SockFlags::SUBFLOW, State::Close, Verdict::NeverAccepted),
    ] {
        let mut table = table();
        let waiting = in_state(state, (QUEUED - PEER_CLOSED) | flags);
        let queue = [
            Record::Listener(holder(7, 3), listener(9, 80)),
            Record::Queued(SockPtr(9), waiting.clone()),
            Record::Unheld(waiting),
        ];
        scan(&mut table, 90_000, queue);
        assert_eq!(verdict(&table), Some(wanted), "{state} {flags:?}");
        assert!(!only(&table).ownerless(), "{flags:?}");
        scan(&mut table, 95_000, []);
        assert!(table.is_empty(), "it was accepted: {state} {flags:?}");
    }
}

/// One whose threads have files of their own is reported more than once.
#[test]
fn of_a_process_the_largest_table_of_files_counts() {
    let mut table = table();
    let process = |open_fds| Record::Process(7, Process { open_fds, ..Process::default() });
    scan(&mut table, 600, [3, 9, 4].map(process));
    assert_eq!(table.process(7).map(|process| process.open_fds), Some(9));
    scan(&mut table, 700, []);
    assert_eq!(table.process(7), None);
}
