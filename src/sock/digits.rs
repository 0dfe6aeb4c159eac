//! Short texts with numbers, written at once.

/// A text of at most 24 characters, from its end to its beginning. `write!` takes a call for each
/// number, which was a third of the time of a long report.
pub(crate) struct Digits {
    text: [u8; 24],
    begin: usize,
}

impl Digits {
    /// No text yet.
    pub(crate) fn new() -> Self {
        Self { text: [0; 24], begin: 24 }
    }

    /// A number alone.
    pub(crate) fn of(number: u32) -> Self {
        let mut digits = Self::new();
        digits.number(number.into());
        digits
    }

    /// A number alone, in hexadecimal, as `{:#x}` writes it.
    pub(crate) fn of_hex(mut number: u64) -> Self {
        let mut digits = Self::new();
        loop {
            digits.push(b"0123456789abcdef"[(number % 16) as usize]);
            number /= 16;
            if number == 0 {
                break;
            }
        }
        digits.push(b'x');
        digits.push(b'0');
        digits
    }

    /// Puts a number before the rest.
    pub(crate) fn number(&mut self, mut number: u64) {
        loop {
            self.push(b"0123456789"[(number % 10) as usize]);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    /// Puts an ASCII character before the rest.
    pub(crate) fn push(&mut self, byte: u8) {
        self.begin -= 1;
        self.text[self.begin] = byte;
    }

    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[self.begin..]
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}
