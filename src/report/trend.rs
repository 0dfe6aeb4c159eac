//! How fast a process leaks, and when it will be out of descriptors.
//!
//! The method: a straight line through the last `WINDOW` reports of the process, by least
//! squares. Nothing is said before `ENOUGH` reports, and exhaustion is foretold only while the
//! slope is more than twice its standard error: a number that goes up and down is no growth.

use std::collections::{HashMap, VecDeque};

use crate::sock::event::Pid;

/// How many reports a slope is made of, at the most.
const WINDOW: usize = 60;
/// And at the least.
const ENOUGH: usize = 10;
/// Leaks that are older than this (ns) say nothing of the present rate.
const LONGEST_HISTORY: u64 = 1_800_000_000_000;

/// A process, by its number and when it began: numbers are given again.
pub type Named = (Pid, u64);

/// Counts of each process in recent reports.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    samples: HashMap<Named, VecDeque<(f64, f64)>>,
}

/// How the number of leaked sockets of a process changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Sockets per minute.
    pub per_minute: f64,
    /// True if it is more than noise, and upwards.
    pub is_growing: bool,
}

impl Growth {
    /// When so many more will be reached, if it goes on like this.
    pub fn seconds_until(&self, more: u64) -> Option<f64> {
        self.is_growing.then(|| rounded(more as f64 / self.per_minute * 60.0))
    }
}

impl Trend {
    /// Takes the numbers of a report at this time. A process that is not in it starts anew.
    pub fn sample(&mut self, ktime: u64, leaked: impl Iterator<Item = (Named, usize)>) {
        let mut before = std::mem::take(&mut self.samples);
        for (process, leaked) in leaked {
            let mut samples = before.remove(&process).unwrap_or_default();
            if samples.len() == WINDOW {
                samples.pop_front();
            }
            samples.push_back((ktime as f64 / 60e9, leaked as f64));
            self.samples.insert(process, samples);
        }
    }

    /// How a process changes, if there are enough samples to say so.
    pub fn of(&self, process: Named) -> Option<Growth> {
        let samples = self.samples.get(&process).filter(|samples| samples.len() >= ENOUGH)?;
        Growth::through(samples)
    }
}

impl Growth {
    /// How a process has changed that now has leaks of these ages (ns), all of at least `youngest`: since
    /// the oldest one began, but for half an hour at the most. It takes `ENOUGH` leaks to say so. Those that
    /// were closed meanwhile are not among them, and make the growth seem larger.
    pub fn of_ages(ages: &[u64], youngest: u64) -> Option<Self> {
        let oldest = ages.iter().copied().max()?.min(LONGEST_HISTORY);
        let span = oldest.saturating_sub(youngest);
        let recent = ages.iter().filter(|&&age| age <= oldest).count();
        if recent < ENOUGH || span == 0 {
            return None;
        }
        let sample = |at: usize| {
            let ago = youngest as f64 + span as f64 * at as f64 / (WINDOW - 1) as f64;
            let leaked = ages.iter().filter(|&&age| age as f64 >= ago).count();
            (-ago / 60e9, leaked as f64)
        };
        Self::through(&(0..WINDOW).map(sample).collect())
    }

    /// A straight line through samples: minutes, and leaked sockets.
    fn through(samples: &VecDeque<(f64, f64)>) -> Option<Self> {
        let n = samples.len() as f64;
        let mean_x = samples.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = samples.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            samples.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>()
        };
        let spread = sum(&|x, _| x * x);
        if spread == 0.0 {
            return None;
        }
        let slope = sum(&|x, y| x * y) / spread;
        let error = (sum(&|x, y| (y - slope * x).powi(2)) / (n - 2.0) / spread).sqrt();
        Some(Self { per_minute: rounded(slope), is_growing: slope > 2.0 * error && slope > 0.0 })
    }
}

/// To a thousandth: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const PROCESS: Named = (7, 70);

    fn trend(leaked: impl IntoIterator<Item = usize>) -> Option<Growth> {
        let mut trend = Trend::default();
        for (second, leaked) in (0..).zip(leaked) {
            trend.sample(second * SECOND, [(PROCESS, leaked)].into_iter());
        }
        trend.of(PROCESS)
    }

    #[test]
    fn a_steady_leak_is_foretold() {
        let growth = trend((0..30).map(|second| second * 2)).unwrap();
        assert_eq!(growth, Growth { per_minute: 120.0, is_growing: true });
        assert_eq!(growth.seconds_until(1_000), Some(500.0));
    }

    #[test]
    fn few_samples_say_nothing() {
        assert_eq!(trend(0..9), None);
        assert!(trend(0..10).is_some());
    }

    #[test]
    fn standing_and_swinging_numbers_are_no_growth() {
        let standing = trend([5; 20]).unwrap();
        assert_eq!((standing.per_minute, standing.seconds_until(10)), (0.0, None));
        let swinging = trend((0..20).map(|second| second % 2 * 50)).unwrap();
        assert_eq!(swinging.seconds_until(10), None);
        let falling = trend((0..20).rev()).unwrap();
        assert_eq!((falling.per_minute, falling.seconds_until(10)), (-60.0, None));
    }

    #[test]
    fn only_the_window_counts() {
        let growth = trend(std::iter::repeat_n(0, 100).chain((0..60).map(|n| n + 1))).unwrap();
        assert_eq!(growth.per_minute, 60.0);
    }

    #[test]
    fn ages_tell_of_the_past() {
        let minutes = |minutes: u64| minutes * 60 * SECOND;
        let steady: Vec<_> = (1..=30).map(minutes).collect();
        let growth = Growth::of_ages(&steady, minutes(1)).unwrap();
        assert!(growth.is_growing && (growth.per_minute - 1.0).abs() < 0.05, "{growth:?}");
        let old: Vec<_> = (0..50).map(|n| minutes(600) + n).collect();
        assert_eq!(Growth::of_ages(&old, minutes(1)), None, "nothing new for hours");
        let few: Vec<_> = (1..=9).map(minutes).collect();
        assert_eq!(Growth::of_ages(&few, minutes(1)), None);
        assert_eq!(Growth::of_ages(&[minutes(1); 20], minutes(1)), None, "all at once");
        assert_eq!(Growth::of_ages(&[], 0), None);
        // Ten a minute for ten minutes, after a day with a leak each hour.
        let ages: Vec<_> = (1..=24).map(|hour| minutes(60 * hour)).collect();
        let ages: Vec<_> = ages.into_iter().chain((10..110).map(|n| minutes(1) * n / 10)).collect();
        let growth = Growth::of_ages(&ages, minutes(1)).unwrap();
        assert!(growth.is_growing && growth.per_minute > 2.0, "{growth:?}");
    }

    #[test]
    fn another_process_of_the_same_number_starts_anew() {
        let mut trend = Trend::default();
        for second in 0..10 {
            trend.sample(second * SECOND, [(PROCESS, 1)].into_iter());
        }
        assert!(trend.of(PROCESS).is_some());
        let other = (PROCESS.0, 71);
        trend.sample(10 * SECOND, [(other, 1)].into_iter());
        assert_eq!((trend.of(PROCESS), trend.of(other)), (None, None));
    }

    #[test]
    fn a_process_that_was_gone_starts_anew() {
        let mut trend = Trend::default();
        for second in 0..10 {
            trend.sample(second * SECOND, [(PROCESS, 1)].into_iter());
        }
        trend.sample(10 * SECOND, std::iter::empty());
        assert_eq!(trend.of(PROCESS), None);
    }
}
