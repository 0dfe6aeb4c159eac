//! Two looks at a socket, and what they say together.

use super::*;
use crate::live::table::tests::{HELD, MS, QUEUED, TICK, enters, seen, transition};
use crate::sock::event::Progress;
use crate::sock::leak::{Class, Verdict};

const IDLE_MS: u64 = 60_000;
const SETTLE: u64 = 300 * MS;
const AT: Progress = Progress { copied_seq: 10, write_seq: 20, snd_una: 20 };

/// A look, the last packet being so old.
fn look(ms: u64, idle_ms: u64) -> Sock {
    Sock { progress: AT, ..seen(1, ms, idle_ms) }
}

fn first(sock: &Sock) -> Tracked {
    Tracked::seen(sock, TICK, sock.stamps.ktime)
}

fn then(before: &Tracked, sock: &Sock) -> Tracked {
    let mut now = first(sock);
    now.continue_from(before);
    now
}

fn entered(ms: u64, progress: Progress) -> Tracked {
    Tracked::entered(&Transition { progress, ..enters(1, ms) })
}

/// Returns true if it has settled right after its last look.
fn has_settled(tracked: &Tracked, settle: u64) -> bool {
    tracked.has_settled(tracked.seen, settle)
}

/// From Linux 7 on, nothing dates a read.
#[test]
fn unread_data_is_looked_at_twice_however_long_no_packet_came() {
    let data = |ms, copied_seq| {
        let progress = Progress { copied_seq, ..AT };
        Sock { unread: 500, progress, ..seen(1, ms, ms - 1_000) }
    };
    let early = first(&data(9_000, 10));
    assert!(!has_settled(&early, SETTLE));
    assert!(has_settled(&then(&early, &data(9_300, 10)), SETTLE));
    assert!(!has_settled(&then(&early, &data(9_300, 11)), SETTLE), "it is being read");
    assert!(has_settled(&first(&look(9_000, 8_000)), SETTLE), "nothing is left to read");
}

fn verdict(tracked: &Tracked, ms: u64) -> Option<Verdict> {
    tracked.judge(ms * MS, IDLE_MS * MS, false).1
}

#[test]
fn one_look_will_do_where_nothing_has_happened_for_long() {
    for (idle_ms, settle_ms, settled) in [
        (0, 300, false),
        (999, 300, false),
        (1_000, 300, true),
        (4_999, 5_000, false),
        (5_000, 5_000, true),
    ] {
        let tracked = first(&look(10_000, idle_ms));
        assert_eq!(has_settled(&tracked, settle_ms * MS), settled, "{idle_ms} {settle_ms}");
    }
}

#[test]
fn two_looks_have_to_be_far_enough_apart() {
    let young = first(&look(10_000, 10));
    assert!(!has_settled(&then(&young, &look(10_299, 10)), SETTLE));
    assert!(has_settled(&then(&young, &look(10_300, 10)), SETTLE));
    let between = then(&young, &look(10_200, 10));
    assert!(has_settled(&then(&between, &look(10_400, 10)), SETTLE), "the first look counts");
}

#[test]
fn what_moves_between_two_looks_has_not_settled() {
    let young = first(&look(10_000, 10));
    let again = look(10_300, 10);
    for moved in [
        Sock { progress: Progress { copied_seq: 11, ..AT }, ..again.clone() },
        Sock { progress: Progress { write_seq: 21, ..AT }, ..again.clone() },
        Sock { progress: Progress { snd_una: 19, ..AT }, ..again.clone() },
        Sock { state: State::LastAck, ..again.clone() },
    ] {
        let moved_once = then(&young, &moved);
        assert!(!has_settled(&moved_once, SETTLE), "{moved:?}");
        let stamps = look(10_600, 10).stamps;
        let stays = Sock { stamps, ..moved };
        assert!(has_settled(&then(&moved_once, &stays), SETTLE), "{stays:?}");
    }
}

#[test]
fn what_is_accepted_between_two_looks_has_not_settled() {
    let queued = first(&Sock { flags: QUEUED, ..look(10_000, 10) });
    assert!(!has_settled(&then(&queued, &look(10_300, 10)), SETTLE));
    let waits = Sock { flags: QUEUED, ..look(10_300, 10) };
    assert!(has_settled(&then(&queued, &waits), SETTLE));
}

#[test]
fn what_was_never_used_counts_at_once() {
    let mut unused = Sock { state: State::Close, ..look(10_000, 10) };
    unused.stamps.mstamp = 0;
    assert!(has_settled(&first(&unused), SETTLE));
    let of_mptcp = Sock { flags: HELD | SockFlags::MPTCP, ..look(10_000, 10) };
    assert!(has_settled(&first(&of_mptcp), SETTLE));
}

/// Read while it was freed, and taken anew: what it was is gone by the second look.
#[test]
fn a_connection_without_a_time_of_activity_takes_two_looks() {
    let undated = |at| {
        let mut sock = look(at, 10);
        sock.stamps.mstamp = 0;
        sock
    };
    let seen = first(&undated(10_000));
    assert!(!has_settled(&seen, SETTLE));
    assert!(has_settled(&then(&seen, &undated(10_300)), SETTLE));
}

#[test]
fn what_was_seen_to_enter_has_settled_once_it_stays() {
    let entered = entered(10_000, AT);
    let read = then(&entered, &look(10_050, 40));
    assert!(read.since.is_exact());
    for tracked in [&entered, &read] {
        assert!(!tracked.has_settled(10_099 * MS, SETTLE));
        assert!(tracked.has_settled(10_100 * MS, SETTLE));
    }
}

#[test]
fn a_verdict_begins_with_the_event_where_nothing_moves() {
    let entered = entered(10_000, AT);
    assert_eq!(entered.judge(10_100 * MS, IDLE_MS * MS, false), (Class::Leaked, None));
    let read = then(&entered, &look(10_200, 200));
    assert_eq!(verdict(&read, 10_200), Some(Verdict::EofRead));
}

/// A move in an earlier state is no proof of life in this one.
#[test]
fn a_verdict_begins_with_the_event_whatever_moved_before_it() {
    let before = Sock { state: State::Established, ..look(9_000, 0) };
    let sending = Sock {
        progress: Progress { copied_seq: 11, write_seq: 30, snd_una: 30 },
        ..before.clone()
    };
    let mut tracked = then(&first(&before), &Sock { stamps: look(9_500, 0).stamps, ..sending });
    let last = Progress { copied_seq: 12, write_seq: 40, snd_una: 40 };
    tracked.change(&Transition { progress: last, ..enters(1, 10_000) });
    let read = then(&tracked, &Sock { progress: last, ..look(10_200, 200) });
    assert_eq!(verdict(&read, 10_200), Some(Verdict::EofRead));
    let unread = Sock { progress: last, unread: 9, ..look(10_200, 200) };
    assert_eq!(verdict(&then(&tracked, &unread), 10_200), Some(Verdict::DataUnread));
}

#[test]
fn a_program_that_sends_is_half_closed_until_it_has_stood_still_for_long() {
    let entered = entered(10_000, AT);
    let sends =
        Sock { progress: Progress { write_seq: 30, snd_una: 30, ..AT }, ..look(11_000, 100) };
    let sent = then(&entered, &sends);
    assert_eq!(verdict(&sent, 11_000), Some(Verdict::HalfClosed));
    let stands = then(&sent, &Sock { stamps: look(70_000, 59_100).stamps, ..sends });
    assert_eq!(verdict(&stands, 70_999), Some(Verdict::HalfClosed));
    assert_eq!(verdict(&stands, 71_000), Some(Verdict::EofRead));
}

/// The send buffer is full: only what the peer acknowledges moves.
#[test]
fn a_slow_download_is_half_closed_while_its_peer_takes_it() {
    let full = |snd_una| Progress { write_seq: 5_000, snd_una, ..AT };
    let mut tracked = entered(10_000, full(1_000));
    for second in 1..=200_u32 {
        let ms = 10_000 + u64::from(second) * 1_000;
        tracked = then(&tracked, &Sock { progress: full(1_000 + second), ..look(ms, 0) });
        assert_eq!(verdict(&tracked, ms), Some(Verdict::HalfClosed), "after {second} s");
    }
    tracked = then(&tracked, &Sock { progress: full(1_200), ..look(269_000, 0) });
    assert_eq!(verdict(&tracked, 269_999), Some(Verdict::HalfClosed));
    assert_eq!(verdict(&tracked, 270_000), Some(Verdict::Unsent));
}

#[test]
fn each_proof_that_nothing_is_acknowledged_makes_unsent() {
    let unsent =
        |idle_ms| Sock { progress: Progress { write_seq: 30, ..AT }, ..look(100_000, idle_ms) };
    let ago = |seconds: u32| unsent(0).stamps.jiffies - seconds * 250;
    // Window probes are answered all the time, and looks have just begun.
    assert_eq!(verdict(&first(&unsent(0)), 100_000), Some(Verdict::HalfClosed));
    let mut blocked = unsent(0);
    blocked.stamps.probing_since = ago(61);
    assert_eq!(verdict(&first(&blocked), 100_000), Some(Verdict::Unsent));
    blocked.stamps.probing_since = ago(59);
    assert_eq!(verdict(&first(&blocked), 100_000), Some(Verdict::HalfClosed));
    assert_eq!(verdict(&first(&unsent(61_000)), 100_000), Some(Verdict::Unsent));
    let again = Sock { stamps: look(160_000, 0).stamps, ..unsent(0) };
    assert_eq!(verdict(&then(&first(&unsent(0)), &again), 160_000), Some(Verdict::Unsent));
}

#[test]
fn a_slow_reader_drains_until_it_has_stood_still_for_long() {
    let unread = |ms, copied_seq, unread| Sock {
        progress: Progress { copied_seq, ..AT },
        unread,
        ..look(ms, 500)
    };
    let reads = then(&first(&unread(10_000, 10, 90)), &unread(11_000, 20, 80));
    assert_eq!(verdict(&reads, 11_000), Some(Verdict::Draining));
    let stands = then(&reads, &unread(71_000, 20, 80));
    assert_eq!(verdict(&stands, 70_999), Some(Verdict::Draining));
    assert_eq!(verdict(&stands, 71_000), Some(Verdict::DataUnread));
}

#[test]
fn a_full_window_is_stalled_when_nothing_was_read_for_long() {
    let full = |ms, idle_ms, copied_seq| Sock {
        state: State::Established,
        flags: HELD | SockFlags::WINDOW_CLOSED,
        progress: Progress { copied_seq, ..AT },
        unread: 90,
        ..look(ms, idle_ms)
    };
    let still = first(&full(100_000, 61_000, 10));
    assert_eq!(verdict(&still, 100_000), Some(Verdict::Stalled));
    assert_eq!(verdict(&then(&still, &full(101_000, 62_000, 20)), 101_000), None, "it reads");
    let mut noted = full(100_000, 61_000, 10);
    noted.stamps.read_mstamp = 99_000 * 1_000;
    assert_eq!(verdict(&first(&noted), 100_000), None, "the kernel has noted a read");
}

#[test]
fn a_look_after_a_reset_keeps_the_age_and_the_side_that_connected() {
    let syn = transition(1, 1_000, State::Close, State::SynSent, HELD);
    let mut tracked = Tracked::entered(&syn);
    tracked.change(&enters(1, 2_000));
    let reset = Sock { state: State::Close, err: 104, ..look(9_000, 7_000) };
    let reset = then(&tracked, &reset);
    assert_eq!(reset.since, Since::exactly(2_000 * MS));
    assert_eq!(verdict(&reset, 9_000), Some(Verdict::Reset));
}

#[test]
fn a_fin_is_no_data() {
    let bytes = |flags, unread| {
        let sock = Sock { flags, unread, bytes_received: 9, ..look(9_000, 0) };
        let tracked = first(&sock);
        (tracked.unread_bytes(), tracked.data_received())
    };
    assert_eq!(bytes(HELD, 9), (Some(8), 8));
    assert_eq!(bytes(HELD, 0), (Some(0), 8));
    assert_eq!(bytes(HELD - SockFlags::PEER_CLOSED, 9), (Some(9), 9));
    assert_eq!(bytes(HELD | SockFlags::MPTCP, 9).0, None);
    assert_eq!(entered(9_000, AT).unread_bytes(), None);
}
