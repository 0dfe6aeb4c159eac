//! Each line of what a leak is, with its neighbours.

use State::{Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck};

use super::*;

const IDLE: u64 = 60;
/// Flags of a connection that a program holds, of one in an accept queue, and of one whose peer has
/// finished.
const HELD: SockFlags =
    SockFlags::HAS_SOCKET.union(SockFlags::HAS_FILE).union(SockFlags::CONNECTED);
const QUEUED: SockFlags = SockFlags::CONNECTED.union(SockFlags::ACCEPTED);
const FIN: SockFlags = HELD.union(SockFlags::PEER_CLOSED);
/// Flags of a socket that was never connected.
const FRESH: SockFlags = SockFlags::HAS_SOCKET.union(SockFlags::HAS_FILE);

/// A socket that has stood still for long, everything read.
fn still(state: State, flags: SockFlags) -> Facts {
    Facts {
        state,
        flags,
        err: 0,
        local_port: 80,
        remote_port: 1000,
        unread: Some(0),
        is_queued: false,
        has_unsent: false,
        is_relayed: false,
        read_ago: None,
        sent_ago: None,
        unacknowledged_for: IDLE,
        unanswered_for: IDLE,
        received_ago: IDLE,
        untouched_for: IDLE,
        connected_for: IDLE,
    }
}

#[track_caller]
fn assert_verdict(facts: &Facts, verdict: Verdict) {
    assert_eq!(judge(facts, IDLE), (verdict.class(), Some(verdict)), "{facts:?}");
}

#[track_caller]
fn assert_class(facts: &Facts, class: Class) {
    assert_eq!(judge(facts, IDLE), (class, None), "{facts:?}");
}

#[test]
fn what_is_unread_tells_the_leaks_of_close_wait_apart() {
    let unread = |unread| Facts { unread, ..still(CloseWait, FIN) };
    assert_verdict(&unread(Some(0)), Verdict::EofRead);
    assert_verdict(&unread(Some(1)), Verdict::EofUnread);
    assert_verdict(&unread(Some(2)), Verdict::DataUnread);
    assert_class(&unread(None), Class::Leaked);
}

#[test]
fn a_program_that_sends_is_no_leak_while_it_does() {
    for unread in [0, 1, 9].map(Some) {
        let sends = |ago| Facts { unread, sent_ago: Some(ago), ..still(CloseWait, FIN) };
        assert_verdict(&sends(IDLE - 1), Verdict::HalfClosed);
        assert_ne!(judge(&sends(IDLE), IDLE).1, Some(Verdict::HalfClosed));
    }
}

#[test]
fn what_the_peer_does_not_take_is_unsent_in_time() {
    let unsent = |unacknowledged_for| Facts {
        has_unsent: true,
        unacknowledged_for,
        ..still(CloseWait, FIN)
    };
    assert_verdict(&unsent(IDLE), Verdict::Unsent);
    assert_verdict(&unsent(IDLE - 1), Verdict::HalfClosed);
    let unread = Facts { unread: Some(9), is_relayed: true, ..unsent(IDLE) };
    assert_verdict(&unread, Verdict::Unsent);
}

#[test]
fn a_slow_reader_is_no_leak_while_it_reads() {
    for (state, then) in [(CloseWait, Verdict::DataUnread), (Close, Verdict::Dead)] {
        let reads =
            |unread, ago| Facts { unread: Some(unread), read_ago: Some(ago), ..still(state, FIN) };
        assert_verdict(&reads(2, IDLE - 1), Verdict::Draining);
        assert_verdict(&reads(2, IDLE), then);
        // It has read all; only the FIN is left, or nothing.
        assert_ne!(judge(&reads(1, 0), IDLE).1, Some(Verdict::Draining));
        assert_ne!(judge(&reads(0, 0), IDLE).1, Some(Verdict::Draining));
        // An error ends reading.
        let reset = Facts { err: 104, state: Close, ..reads(2, 0) };
        assert_verdict(&reset, Verdict::Reset);
    }
}

#[test]
fn a_relay_has_read_everything() {
    let relay = |unread| Facts { unread, is_relayed: true, ..still(CloseWait, FIN) };
    assert_verdict(&relay(Some(0)), Verdict::Relayed);
    assert_verdict(&relay(Some(1)), Verdict::Relayed);
    assert_verdict(&relay(Some(2)), Verdict::DataUnread);
    assert_class(&relay(None), Class::Leaked);
}

#[test]
fn a_queue_keeps_what_has_no_struct_socket_with_or_without_its_listener() {
    for is_queued in [true, false] {
        let waits = |state, flags| Facts { is_queued, ..still(state, flags) };
        let gone = QUEUED | SockFlags::PEER_CLOSED;
        assert_verdict(&waits(CloseWait, gone), Verdict::NeverAccepted);
        assert_verdict(&waits(Close, QUEUED), Verdict::NeverAccepted);
        assert_verdict(&Facts { err: 104, ..waits(Close, QUEUED) }, Verdict::NeverAccepted);
        assert_verdict(&Facts { unread: None, ..waits(Close, QUEUED) }, Verdict::NeverAccepted);
        assert_verdict(&waits(Established, QUEUED), Verdict::Unaccepted);
        let new = Facts { connected_for: IDLE - 1, ..waits(Established, QUEUED) };
        assert_class(&new, Class::InUse);
    }
}

#[test]
fn an_orphan_waits_in_no_queue() {
    let orphan = QUEUED | SockFlags::ORPHAN;
    assert_class(&still(Established, orphan), Class::InUse);
    assert_ne!(judge(&still(Close, orphan), IDLE).1, Some(Verdict::NeverAccepted));
    for state in [FinWait1, FinWait2, Closing, LastAck] {
        assert_class(&still(state, orphan), Class::InUse);
        assert_class(&still(state, HELD | SockFlags::KERNEL), Class::InUse);
    }
}

/// From any state, with or without the peer's FIN.
#[test]
fn a_connection_that_is_no_more_is_reset_or_dead() {
    for flags in [HELD, FIN, HELD | SockFlags::ACCEPTED, FIN | SockFlags::SHUT_BOTH] {
        for unread in [None, Some(0), Some(1), Some(9)] {
            let ended = Facts { unread, ..still(Close, flags) };
            assert_verdict(&ended, Verdict::Dead);
            assert_verdict(&Facts { err: 104, ..ended }, Verdict::Reset);
        }
    }
}

#[test]
fn what_was_never_connected_is_no_leak() {
    let never = |flags, local_port| Facts { local_port, remote_port: 0, ..still(Close, flags) };
    assert_verdict(&never(FRESH, 0), Verdict::Unconnected);
    assert_verdict(&never(FRESH, 80), Verdict::ConnectFailed);
    assert_verdict(&never(FRESH | SockFlags::BOUND, 80), Verdict::Reserved);
    // A refused connect() keeps the remote port, and may leave an error.
    let refused = Facts { remote_port: 1000, err: 111, ..never(FRESH, 80) };
    assert_verdict(&refused, Verdict::ConnectFailed);
    // connect(AF_UNSPEC) keeps rcv_nxt, and not the remote port.
    assert_verdict(&never(HELD, 80), Verdict::ConnectFailed);
    assert_verdict(&never(HELD | SockFlags::BOUND, 80), Verdict::Reserved);
    // shutdown() of a listener keeps its backlog, and may free its port.
    assert_class(&never(FRESH | SockFlags::ACCEPTED, 80), Class::InUse);
    assert_verdict(&never(FRESH | SockFlags::ACCEPTED | SockFlags::BOUND, 80), Verdict::Reserved);
}

#[test]
fn half_shut_is_stranded_once_no_data_has_come_for_long() {
    for state in [FinWait1, FinWait2, Closing, LastAck] {
        let facts = still(state, HELD | SockFlags::SHUT_SEND);
        assert_verdict(&facts, Verdict::HalfShut);
        assert_class(&Facts { received_ago: IDLE - 1, ..facts }, Class::InUse);
    }
}

#[test]
fn a_full_window_is_stalled_once_nothing_has_happened_for_long() {
    let full = Facts { unread: Some(9), ..still(Established, HELD | SockFlags::WINDOW_CLOSED) };
    assert_verdict(&full, Verdict::Stalled);
    assert_class(&Facts { untouched_for: IDLE - 1, ..full }, Class::InUse);
    assert_class(&Facts { unread: Some(0), ..full }, Class::InUse);
    assert_class(&Facts { unread: None, ..full }, Class::InUse);
    assert_class(&Facts { flags: HELD, ..full }, Class::InUse);
}

#[test]
fn silence_is_unanswered_in_time() {
    let silent = still(Established, HELD | SockFlags::UNANSWERED);
    assert_verdict(&silent, Verdict::Unanswered);
    assert_class(&Facts { unanswered_for: IDLE - 1, ..silent }, Class::InUse);
    assert_class(&Facts { flags: HELD, ..silent }, Class::InUse);
}

#[test]
fn what_works_is_in_use() {
    for state in [State::SynSent, State::SynRecv, State::Listen, State::TimeWait] {
        assert_class(&still(state, HELD), Class::InUse);
    }
}

/// A slow upload whose end the program has announced by `shutdown()`.
#[test]
fn what_the_peer_still_takes_is_not_half_shut() {
    for state in [FinWait1, Closing, LastAck] {
        let upload = |sent_ago, unacknowledged_for| Facts {
            has_unsent: true,
            sent_ago,
            unacknowledged_for,
            ..still(state, HELD)
        };
        assert_class(&upload(Some(IDLE - 1), IDLE), Class::InUse);
        assert_class(&upload(None, IDLE - 1), Class::InUse);
        assert_verdict(&upload(None, IDLE), Verdict::HalfShut);
        assert_verdict(&upload(Some(IDLE), IDLE), Verdict::HalfShut);
    }
    let all_is_sent = Facts { unacknowledged_for: 0, ..still(FinWait2, HELD) };
    assert_verdict(&all_is_sent, Verdict::HalfShut);
}

#[test]
fn of_mptcp_the_state_decides() {
    let msk = HELD | SockFlags::MPTCP;
    let ended = msk | SockFlags::PEER_CLOSED;
    for unread in [0, 1, 9].map(Some) {
        assert_class(&Facts { unread, ..still(CloseWait, ended) }, Class::Leaked);
        assert_class(&Facts { unread, ..still(Close, ended) }, Class::Leaked);
    }
    assert_class(&still(Close, msk), Class::InUse);
    // Reset: no end-of-file has come. A failed connect() was not connected; a dissolved connection is
    // open in both directions again, and may have no peer.
    let reset = msk | SockFlags::SHUT_BOTH;
    assert_class(&still(Close, reset), Class::Leaked);
    assert_class(&still(Close, msk), Class::InUse);
    assert_class(&still(Close, reset - SockFlags::CONNECTED), Class::InUse);
    assert_class(&Facts { remote_port: 0, ..still(Close, reset) }, Class::InUse);
    assert_class(&still(Established, msk | SockFlags::UNANSWERED), Class::InUse);
    assert_class(&still(FinWait2, msk), Class::InUse);
    let subflow = SockFlags::SUBFLOW | SockFlags::CONNECTED | SockFlags::KERNEL;
    assert_class(&still(CloseWait, subflow), Class::Leaked);
    assert_class(&still(Established, subflow), Class::InUse);
}

#[test]
fn a_candidate_is_what_can_have_a_verdict() {
    for flags in [HELD, QUEUED, FRESH, HELD | SockFlags::MPTCP, SockFlags::ORPHAN] {
        assert!(is_candidate(CloseWait, flags, 0), "{flags:?}");
        assert!(is_candidate(Close, flags, 0), "{flags:?}");
    }
    assert!(is_candidate(CloseWait, SockFlags::SUBFLOW, 0));
    assert!(!is_candidate(Close, SockFlags::SUBFLOW, 0));
    for state in [FinWait1, FinWait2, Closing, LastAck] {
        assert!(is_candidate(state, HELD, 0), "{state}");
        assert!(!is_candidate(state, HELD | SockFlags::ORPHAN, 0), "{state}");
        assert!(!is_candidate(state, HELD | SockFlags::KERNEL, 0), "{state}");
    }
    let full = HELD | SockFlags::WINDOW_CLOSED;
    assert!(is_candidate(Established, full, 1) && !is_candidate(Established, full, 0));
    assert!(is_candidate(Established, HELD | SockFlags::UNANSWERED, 0));
    assert!(is_candidate(Established, QUEUED, 0));
    assert!(!is_candidate(Established, HELD, 9));
    let subflow = full | SockFlags::UNANSWERED | SockFlags::SUBFLOW;
    assert!(!is_candidate(Established, subflow, 9));
    for state in [State::SynSent, State::SynRecv, State::Listen] {
        assert!(!is_candidate(state, HELD, 9), "{state}");
    }
}

/// The kernel reports all that is judged leaked or stranded.
#[test]
fn nothing_but_a_candidate_is_leaked_or_stranded() {
    for (state, bits) in State::ALL.into_iter().flat_map(|s| (0..=u16::MAX).map(move |b| (s, b))) {
        let flags = SockFlags::from_bits_retain(bits);
        for unread in [0, 1, 9] {
            let facts = Facts { unread: Some(unread), ..still(state, flags) };
            let is_reported = is_candidate(state, flags, unread);
            // MPTCP's subflows are no rows once they have ended: see is_candidate().
            let is_ended_subflow = state == Close && flags.contains(SockFlags::SUBFLOW);
            let is_fine = judge(&facts, IDLE).0 == Class::InUse;
            assert!(is_reported || is_fine || is_ended_subflow, "{facts:?}");
        }
    }
}

#[test]
fn every_verdict_parses_back_and_has_a_sentence() {
    for verdict in Verdict::ALL {
        assert_eq!(verdict.name().parse(), Ok(verdict));
        assert!(verdict.summary().len() > 20, "{verdict}");
    }
    let error = "bad-luck".parse::<Verdict>().unwrap_err();
    assert!(Verdict::ALL.iter().all(|verdict| error.contains(verdict.name())), "{error}");
}
