//! For programs: one object a line.

use std::io::{self, Write};

use serde::Serialize;

/// Writes a report, or whatever else, as one line of JSON.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}
