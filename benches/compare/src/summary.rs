//! Sums up many readings of one quantity.

use serde::Serialize;

/// Readings and their median, which one busy moment does not change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// All readings, in the order in which they were taken.
    pub(crate) readings: Vec<f64>,
}

impl Summary {
    /// Standard error of the median, estimated from the median distance of the readings to it, as for
    /// a normal distribution.
    pub(crate) fn error(&self) -> f64 {
        let distances = self.readings.iter().map(|reading| (reading - self.median).abs()).collect();
        let spread = Self::of(distances).map_or(0.0, |distances| distances.median);
        1.253 * 1.483 * spread / (self.readings.len() as f64).sqrt()
    }

    /// `None` where there are no readings.
    pub(crate) fn of(readings: Vec<f64>) -> Option<Self> {
        let mut sorted = readings.clone();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, min, max, readings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let median = |readings: &[f64]| Summary::of(readings.to_vec()).map(|s| s.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn the_error_is_of_the_spread_and_not_of_what_strays() {
        let error = |readings: &[f64]| Summary::of(readings.to_vec()).map(|s| s.error());
        assert_eq!(error(&[3.0]), Some(0.0));
        assert_eq!(error(&[1.0, 2.0, 3.0, 4.0]), Some(1.253 * 1.483 / 2.0));
        assert_eq!(error(&[1.0, 2.0, 3.0, 400.0]), error(&[1.0, 2.0, 3.0, 4.0]));
    }
}
