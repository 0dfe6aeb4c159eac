//! When to scan: for a reason, and within a budget of CPU time.

use std::time::Duration;

/// A reason that cannot wait may overdraw the budget by this much CPU time.
const OVERDRAFT: Duration = Duration::from_millis(300);
/// However much scans have cost, a reason waits no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// With nothing in the table and no reason, scan this often all the same.
const IDLE_AUDIT: Duration = Duration::from_secs(60);
/// Scan this often for what is nearly always closed within a moment, or becomes idle in time: no
/// event tells of either.
const PENDING_AUDIT: Duration = Duration::from_secs(5);

/// How much of one core scans may use, on average: so many thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u32);

impl Budget {
    /// From 1 thousandth to 1,000.
    pub fn new(thousandths: u32) -> Option<Self> {
        (1..=1000).contains(&thousandths).then_some(Self(thousandths))
    }

    /// How much of this time it grants.
    fn of(self, time: Duration) -> Duration {
        time.saturating_mul(self.0) / 1000
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(10)
    }
}

/// Why to scan: the later, the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing is known to have changed.
    Idle,
    /// A connection has come to its end with its descriptor open, or sockets may become idle.
    Pending,
    /// There are rows: what is unread, and who holds what, changes without an event.
    Audit,
    /// There are sockets without an owner, or events were lost, or the last scan failed.
    Urgent,
}

/// Gaps that a scan could fill.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Sockets that no scan has read yet.
    pub has_unscanned: bool,
    /// Events that no scan has made up for.
    pub has_lost_events: bool,
    /// Sockets that are leaked, or whatever else was asked for.
    pub has_rows: bool,
    /// Sockets that may become so without an event.
    pub has_pending: bool,
    /// Connections that have come to their end with their descriptor open.
    pub left_open: bool,
}

impl Needs {
    /// The most urgent reason for a scan.
    pub fn reason(self) -> Reason {
        if self.has_unscanned || self.has_lost_events {
            Reason::Urgent
        } else if self.has_rows {
            Reason::Audit
        } else if self.has_pending || self.left_open {
            Reason::Pending
        } else {
            Reason::Idle
        }
    }
}

/// Keeps account of what scans cost. Time is passed in.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    budget: Budget,
    last: Option<Duration>,
    /// CPU time of the last scan.
    cost: Duration,
    /// CPU time used, less what the budget has granted.
    debt: Duration,
}

impl Schedule {
    /// Sets how much scans may use from now on.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// True if there was no scan yet.
    pub fn is_first(&self) -> bool {
        self.last.is_none()
    }

    /// CPU time of the last scan.
    pub fn cost(&self) -> Duration {
        self.cost
    }

    /// True if to scan at this time, for this reason.
    pub fn is_due(&self, now: Duration, reason: Reason) -> bool {
        let Some(last) = self.last else { return true };
        let (least, credit) = match reason {
            Reason::Urgent => (Duration::ZERO, OVERDRAFT),
            Reason::Audit => (Duration::ZERO, Duration::ZERO),
            Reason::Pending => (PENDING_AUDIT, Duration::ZERO),
            Reason::Idle => (IDLE_AUDIT, Duration::ZERO),
        };
        let is_affordable = self.debt_at(now) <= credit || now >= last + LONGEST_WAIT;
        now >= last + least && is_affordable
    }

    /// A scan has ended at this time, and has used so much CPU time.
    pub fn charge(&mut self, now: Duration, cost: Duration) {
        // The first is the price of starting.
        self.debt = match self.last {
            Some(_) => (self.debt_at(now) + cost).min(OVERDRAFT + self.budget.of(LONGEST_WAIT)),
            None => Duration::ZERO,
        };
        self.cost = cost;
        self.last = Some(now);
    }

    fn debt_at(&self, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.last.unwrap_or_default());
        self.debt.saturating_sub(self.budget.of(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How many scans of this cost a schedule allows in 1,000 s of ticks of 1 s.
    fn scans(reason: Reason, cost: Duration) -> usize {
        let mut schedule = Schedule::default();
        (0..1000)
            .map(|second| ms(second * 1000))
            .filter(|&now| {
                let due = schedule.is_due(now, reason);
                if due {
                    schedule.charge(now, cost);
                }
                due
            })
            .count()
    }

    #[test]
    fn cheap_audits_happen_at_each_tick() {
        assert_eq!(scans(Reason::Audit, ms(5)), 1000);
    }

    #[test]
    fn costly_scans_keep_to_one_percent_on_average() {
        for reason in [Reason::Audit, Reason::Urgent] {
            let used = ms(60) * u32::try_from(scans(reason, ms(60))).unwrap();
            assert!(used <= ms(10_000) + OVERDRAFT + 2 * ms(60), "{reason:?}: {used:?}");
            assert!(used >= ms(9_000), "{reason:?}: {used:?}");
        }
    }

    #[test]
    fn what_is_urgent_is_done_at_once() {
        let mut schedule = Schedule::default();
        schedule.charge(ms(0), ms(60));
        schedule.charge(ms(1000), ms(60));
        assert!(!schedule.is_due(ms(2000), Reason::Audit));
        assert!(schedule.is_due(ms(2000), Reason::Urgent));
    }

    #[test]
    fn an_idle_host_is_left_alone() {
        assert_eq!(scans(Reason::Idle, ms(1)), 17);
        assert_eq!(scans(Reason::Pending, ms(1)), 200);
    }

    #[test]
    fn nobody_waits_for_longer_than_half_a_minute() {
        for reason in [Reason::Audit, Reason::Urgent] {
            let message = "the first, which is free, and from the next one on one each 30 s";
            assert_eq!(scans(reason, ms(60_000)), 35, "{message}");
        }
        let mut schedule = Schedule::default();
        (0..9).for_each(|second| schedule.charge(ms(second * 1000), ms(60_000)));
        assert!(!schedule.is_due(ms(37_000), Reason::Urgent));
        assert!(schedule.is_due(ms(38_000), Reason::Urgent));
        assert!(!schedule.is_due(ms(38_001), Reason::Idle), "there is no reason");
    }

    /// The seconds at which scans of 700 ms are made for what is urgent.
    fn dear_scans(budget: Budget) -> Vec<u64> {
        let mut schedule = Schedule::default();
        schedule.set_budget(budget);
        let is_due = |&second: &u64| {
            let now = ms(second * 1000);
            let due = schedule.is_due(now, Reason::Urgent);
            if due {
                schedule.charge(now, ms(700));
            }
            due
        };
        (0..100).filter(is_due).collect()
    }

    #[test]
    fn a_larger_budget_allows_more() {
        assert_eq!(dear_scans(Budget::default()), [0, 1, 31, 61, 91]);
        assert_eq!(dear_scans(Budget::new(100).unwrap())[..5], [0, 1, 5, 12, 19]);
        assert_eq!(dear_scans(Budget::new(1000).unwrap()).len(), 100);
        assert_eq!(dear_scans(Budget::new(1).unwrap()), [0, 1, 31, 61, 91]);
        assert_eq!((Budget::new(0), Budget::new(1001)), (None, None));
    }

    #[test]
    fn debt_does_not_outlive_what_made_it() {
        let mut schedule = Schedule::default();
        (0..100).for_each(|second| schedule.charge(ms(second * 1000), ms(60_000)));
        let next = (100..).find(|&second| schedule.is_due(ms(second * 1000), Reason::Urgent));
        assert_eq!(next, Some(129));
        // Cheap again: from now on nobody waits.
        schedule.charge(ms(129_000), ms(5));
        let soon = (130..).find(|&second| schedule.is_due(ms(second * 1000), Reason::Urgent));
        assert_eq!(soon, Some(130));
    }

    #[test]
    fn the_most_urgent_reason_decides() {
        let nothing = Needs::default();
        assert_eq!(nothing.reason(), Reason::Idle);
        let left_open = Needs { left_open: true, ..nothing };
        assert_eq!(left_open.reason(), Reason::Pending);
        assert_eq!(Needs { has_pending: true, ..nothing }.reason(), Reason::Pending);
        let rows = Needs { has_rows: true, ..left_open };
        assert_eq!(rows.reason(), Reason::Audit);
        assert_eq!(Needs { has_unscanned: true, ..rows }.reason(), Reason::Urgent);
        assert_eq!(Needs { has_lost_events: true, ..nothing }.reason(), Reason::Urgent);
    }
}
