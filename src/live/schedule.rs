//! When to scan: for a reason, and within a budget of CPU time.

use std::time::Duration;

/// Scans may use one part in so many of one core, on average.
const SHARE: u32 = 100;
/// A reason that cannot wait may overdraw the budget by this much CPU time.
const OVERDRAFT: Duration = Duration::from_millis(300);
/// With nothing in the table and no reason, look this often all the same.
const IDLE_AUDIT: Duration = Duration::from_secs(60);
/// What was left open at its connection's end is nearly always closed within a moment, and no scan
/// finds it: look no more often than this.
const LEFT_OPEN_AUDIT: Duration = Duration::from_secs(5);

/// Why to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing is known to have changed.
    IdleAudit,
    /// A connection has come to its end with its descriptor open.
    LeftOpen,
    /// There are rows, or may be: what is unread, and who holds what, changes without a transition.
    Audit,
    /// There are rows without an owner, or events were lost, or the last scan failed.
    Urgent,
}

/// Keeps account of what scans cost. Time is passed in.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    last: Option<Duration>,
    /// CPU time used, less what the budget has granted.
    debt: Duration,
}

impl Schedule {
    /// Whether there was no scan yet.
    pub fn is_first(&self) -> bool {
        self.last.is_none()
    }

    /// Whether to scan at this time, for this reason.
    pub fn is_due(&self, now: Duration, reason: Reason) -> bool {
        let Some(last) = self.last else { return true };
        match reason {
            Reason::Urgent => self.debt_at(now) <= OVERDRAFT,
            Reason::Audit => self.debt_at(now).is_zero(),
            Reason::LeftOpen => now >= last + LEFT_OPEN_AUDIT && self.debt_at(now).is_zero(),
            Reason::IdleAudit => now >= last + IDLE_AUDIT && self.debt_at(now).is_zero(),
        }
    }

    /// A scan has ended at this time, and has used so much CPU time.
    pub fn charge(&mut self, now: Duration, cost: Duration) {
        // The first is the price of starting.
        self.debt = match self.last {
            Some(_) => self.debt_at(now) + cost,
            None => Duration::ZERO,
        };
        self.last = Some(now);
    }

    fn debt_at(&self, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.last.unwrap_or_default());
        self.debt.saturating_sub(elapsed / SHARE)
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
        assert_eq!(scans(Reason::IdleAudit, ms(1)), 17);
        assert_eq!(scans(Reason::LeftOpen, ms(1)), 200);
    }
}
