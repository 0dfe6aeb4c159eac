//! Numbers as people read them.

use std::fmt::{self, Display};

use crate::sock::digits::Digits;

/// A length of time in at most six characters.
pub(super) struct Span(pub(super) u64);

impl Span {
    /// A number of seconds.
    pub(super) fn of_seconds(seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        Self((seconds * 1e9) as u64)
    }

    pub(super) fn digits(&self) -> Digits {
        let seconds = self.0 / 1_000_000_000;
        let (large, then, small, unit) = match seconds {
            0..60 => (seconds, b'.', self.0 / 100_000_000 % 10, b's'),
            60..3_600 => (seconds / 60, b'm', seconds % 60, b's'),
            3_600..86_400 => (seconds / 3_600, b'h', seconds / 60 % 60, b'm'),
            _ => (seconds / 86_400, b'd', seconds / 3_600 % 24, b'h'),
        };
        let mut digits = Digits::new();
        digits.push(unit);
        digits.number(small);
        if small < 10 && then != b'.' {
            digits.push(b'0');
        }
        digits.push(then);
        digits.number(large);
        digits
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

/// A number of bytes in at most four characters.
pub(super) struct Bytes(pub(super) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..1_000 => write!(f, "{bytes}B"),
            bytes @ 1_000..1_000_000 => write!(f, "{}K", bytes / 1_000),
            bytes @ 1_000_000..1_000_000_000 => write!(f, "{}M", bytes / 1_000_000),
            bytes => write!(f, "{}G", bytes / 1_000_000_000),
        }
    }
}

/// A count with its thousands apart: 39,880.
pub(super) struct Count(pub(super) usize);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (count, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (39_880, "39,880"), (1_234_567, "1,234,567")]
        {
            assert_eq!(Count(count).to_string(), text);
        }
    }
}
