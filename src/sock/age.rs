//! How long a socket has been in its state, where nobody saw it enter: bounds from the
//! connection's own timestamps. Absolute times, in ns of `CLOCK_MONOTONIC`.

use crate::sock::event::{SockFlags, Stamps};
use crate::sock::state::State;

/// Allowed difference between a reading and an event: a tick of coarse clocks, and the moment
/// between the kernel's tracepoint and the store that follows it, in which a virtual machine may be
/// stopped.
pub const SLACK_NS: u64 = 50_000_000;

/// Allowed difference between a connection's own stamps and the clock: jiffies stand still while a
/// virtual machine's CPU is stopped, and catch up later.
pub const STAMP_SLACK_NS: u64 = 500_000_000;

/// The kernel's tick, 1/HZ s, in which it counts jiffies.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Its length in ns: the resolution of the coarse clocks.
    pub ns: u64,
}

/// When something began: within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Not before this; 0, the boot, where nothing better is known.
    pub earliest: u64,
    /// Not after this.
    pub latest: u64,
}

impl Since {
    /// It was seen to begin.
    pub fn exactly(ktime: u64) -> Self {
        Self { earliest: ktime, latest: ktime }
    }

    /// Between these bounds, which never are a moment: it was not seen to begin, even where they meet.
    fn between(earliest: u64, latest: u64) -> Self {
        Self { earliest: earliest.min(latest.saturating_sub(1)), latest }
    }

    /// Returns true if it was seen to begin.
    pub fn is_exact(self) -> bool {
        self.earliest == self.latest
    }

    /// Returns true if a moment lies within the bounds, give or take [`STAMP_SLACK_NS`].
    pub fn allows(self, ktime: u64) -> bool {
        ktime <= self.latest.saturating_add(STAMP_SLACK_NS)
            && self.earliest <= ktime.saturating_add(STAMP_SLACK_NS)
    }

    /// Combines two sources, `self` being the one to believe where they disagree.
    #[must_use]
    pub fn narrowed_by(self, other: Self) -> Self {
        if other.is_exact() {
            return if self.allows(other.latest) { other } else { self };
        }
        let latest = self.latest.min(other.latest);
        let earliest = self.earliest.max(other.earliest);
        match earliest > latest || self.is_exact() {
            true => self,
            false => Self::between(earliest, latest),
        }
    }
}

/// Since when the socket has been in this state; of one that was destroyed after its peer had left,
/// since when that was.
pub fn since(state: State, flags: SockFlags, stamps: &Stamps, tick: Tick) -> Since {
    // Each is a sound bound from below, the second often the better one: our own late ACKs renew
    // the first.
    let mut at_least = 0;
    if stamps.mstamp != 0 {
        at_least = stamps.ktime.saturating_sub(stamps.mstamp.saturating_mul(1_000));
    }
    // A stamp from before the boot is none: the socket was freed, and taken anew, while it was read.
    let after = |stamp: u32| {
        tick.after(stamps.jiffies, stamp).filter(|(at_least, _)| *at_least < stamps.ktime)
    };
    match state {
        // Entered by the arrival of a segment, and every segment acknowledges.
        State::CloseWait | State::FinWait2 | State::Closing => {
            at_least = at_least.max(after(stamps.rcv_tstamp).map_or(0, |age| age.0));
        }
        // So was the peer's FIN. A RST from a live peer need not acknowledge.
        State::Close if flags.contains(SockFlags::PEER_CLOSED) => {
            at_least = at_least.max(after(stamps.rcv_tstamp).map_or(0, |age| age.0));
        }
        // All three stamps begin with the connection.
        State::Established => {
            let first = [stamps.rcv_tstamp, stamps.lrcvtime, stamps.lsndtime];
            let ages = first.into_iter().filter_map(after).map(|age| age.0);
            at_least = ages.fold(at_least, u64::max);
        }
        _ => {}
    }
    // After the peer's FIN no data arrives. Half the range of jiffies is not proof against their
    // wrap, but a kernel that has not run for so long has not wrapped.
    let at_most = match state {
        State::CloseWait | State::Close | State::Closing | State::LastAck
            if stamps.ktime < tick.wrap() =>
        {
            after(stamps.lrcvtime).map(|age| age.1)
        }
        _ => None,
    };
    if let Some(at_most) = at_most {
        // Reordered segments can leave an ACK's stamp older than the FIN.
        at_least = at_least.min(at_most);
    }
    let earliest = at_most.map_or(0, |age| stamps.ktime.saturating_sub(age));
    Since::between(earliest, stamps.ktime.saturating_sub(at_least))
}

/// When data last went either way; 0, the boot, where it never did.
pub fn last_data(stamps: &Stamps, tick: Tick) -> u64 {
    let after = |stamp| tick.after(stamps.jiffies, stamp).map(|age| age.0);
    let idle = [stamps.lrcvtime, stamps.lsndtime].into_iter().filter_map(after).min();
    idle.map_or(0, |idle| stamps.ktime.saturating_sub(idle))
}

/// When something last happened on the connection that the kernel notes: a packet, or a read that
/// copied data; 0 if nothing ever did.
pub fn last_active(stamps: &Stamps) -> u64 {
    stamps.mstamp.saturating_mul(1_000)
}

/// When the program last read data, as far as the kernel notes it; 0 if it never did.
pub fn last_read(stamps: &Stamps) -> u64 {
    stamps.read_mstamp.saturating_mul(1_000)
}

/// The moment of a stamp in jiffies, or one up to two ticks later; 0 where it was never set.
pub fn at(stamps: &Stamps, stamp: u32, tick: Tick) -> u64 {
    let age = tick.after(stamps.jiffies, stamp);
    age.map_or(0, |age| stamps.ktime.saturating_sub(age.0))
}

impl Tick {
    /// The least and the most ns from the jiffy `then` to the jiffy `now`; `None` for 0, which is
    /// what a stamp is before it is set (and for one tick of billions after it).
    fn after(self, now: u32, then: u32) -> Option<(u64, u64)> {
        let ticks = u64::from(now.wrapping_sub(then));
        (then != 0).then(|| (ticks.saturating_sub(1) * self.ns, (ticks + 1) * self.ns))
    }

    /// After how many ns the low half of jiffies comes round.
    fn wrap(self) -> u64 {
        self.ns.saturating_mul(1 << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const FIN: SockFlags = SockFlags::PEER_CLOSED;
    const HZ_250: Tick = Tick { ns: 4_000_000 };

    fn stamps() -> Stamps {
        Stamps {
            ktime: 1000 * S,
            jiffies: 100_000,
            mstamp: 995 * 1_000_000,
            rcv_tstamp: 100_000 - 2_500, // 10 s ago
            lrcvtime: 100_000 - 5_000,   // 20 s ago
            lsndtime: 100_000 - 1_250,   // 5 s ago
            ..Stamps::default()
        }
    }

    /// The most and the least, in ms; the host has been up for 1,000 s.
    fn ages(since: Since) -> (u64, u64) {
        ((1000 * S - since.earliest) / 1_000_000, (1000 * S - since.latest) / 1_000_000)
    }

    #[test]
    fn a_stamp_from_before_the_boot_is_none() {
        let torn = Stamps { ktime: 5 * S, mstamp: 0, ..stamps() };
        for state in [State::CloseWait, State::FinWait2, State::Closing] {
            let since = since(state, SockFlags::default(), &torn, HZ_250);
            assert_eq!((since.earliest, since.latest), (0, 5 * S), "{state}");
        }
    }

    #[test]
    fn the_last_ack_and_the_last_data_bound_a_close_wait() {
        let close_wait = since(State::CloseWait, FIN, &stamps(), HZ_250);
        assert_eq!(ages(close_wait), (20_004, 9_996));
    }

    #[test]
    fn the_last_packet_bounds_every_state() {
        assert_eq!(ages(since(State::FinWait1, FIN, &stamps(), HZ_250)), (1_000_000, 5_000));
        assert_eq!(ages(since(State::Established, FIN, &stamps(), HZ_250)), (1_000_000, 19_996));
    }

    #[test]
    fn a_reset_by_a_live_peer_need_not_acknowledge() {
        let reset = |flags| ages(since(State::Close, flags, &stamps(), HZ_250));
        assert_eq!(reset(FIN), (20_004, 9_996));
        assert_eq!(reset(SockFlags::empty()), (20_004, 5_000));
    }

    #[test]
    fn another_hz_is_another_age() {
        let close_wait = since(State::CloseWait, FIN, &stamps(), Tick { ns: 1_000_000 });
        assert_eq!(ages(close_wait), (5_001, 5_000));
    }

    #[test]
    fn jiffies_wrap_within_an_age() {
        let mut stamps = stamps();
        let shift = |jiffies: u32| jiffies.wrapping_sub(99_000);
        stamps.jiffies = shift(stamps.jiffies);
        stamps.rcv_tstamp = shift(stamps.rcv_tstamp);
        stamps.lrcvtime = shift(stamps.lrcvtime);
        assert!(stamps.jiffies < stamps.rcv_tstamp);
        assert_eq!(ages(since(State::CloseWait, FIN, &stamps, HZ_250)), (20_004, 9_996));
    }

    #[test]
    fn a_host_that_has_outlived_a_wrap_has_no_upper_bound() {
        let late = Stamps { ktime: HZ_250.wrap() + S, ..stamps() };
        assert_eq!(since(State::CloseWait, FIN, &late, HZ_250).earliest, 0);
    }

    #[test]
    fn a_lower_bound_never_exceeds_the_upper() {
        let reordered = Stamps { rcv_tstamp: 100_000 - 6_000, ..stamps() };
        let since = since(State::CloseWait, FIN, &reordered, HZ_250);
        assert!(since.earliest < since.latest, "bounds that meet are no exact time: {since:?}");
    }

    #[test]
    fn an_exact_time_survives_only_within_the_bounds() {
        let bounds = Since { earliest: 10 * S, latest: 20 * S };
        assert_eq!(bounds.narrowed_by(Since::exactly(15 * S)), Since::exactly(15 * S));
        assert_eq!(bounds.narrowed_by(Since::exactly(30 * S)), bounds);
        let older = Since { earliest: 0, latest: 12 * S };
        let both = Since { earliest: 10 * S, latest: 12 * S };
        assert_eq!(bounds.narrowed_by(older), both);
        let met = bounds.narrowed_by(Since { earliest: 0, latest: 10 * S });
        assert!(!met.is_exact() && met.latest == 10 * S, "{met:?}");
    }

    #[test]
    fn a_stamp_that_was_never_set_says_nothing() {
        let fresh = Stamps { ktime: 1000 * S, jiffies: 100_000, ..Stamps::default() };
        for state in State::ALL {
            assert_eq!(ages(since(state, FIN, &fresh, HZ_250)), (1_000_000, 0), "{state}");
        }
        assert_eq!(last_data(&fresh, HZ_250), 0);
    }

    #[test]
    fn packets_and_reads_are_dated_if_the_kernel_does() {
        let read = Stamps { read_mstamp: 990 * 1_000_000, ..stamps() };
        assert_eq!((last_active(&read), last_read(&read)), (995 * S, 990 * S));
        assert_eq!((last_active(&Stamps::default()), last_read(&stamps())), (0, 0));
        // A moment in jiffies is no earlier than it was.
        assert_eq!(1000 * S - at(&read, read.rcv_tstamp, HZ_250), 9_996_000_000);
        assert_eq!(at(&read, read.probing_since, HZ_250), 0);
    }

    #[test]
    fn idle_is_since_the_later_of_both_directions() {
        assert_eq!((1000 * S - last_data(&stamps(), HZ_250)) / 1_000_000, 4_996);
    }
}
