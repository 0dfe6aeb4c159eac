//! For programs: one object a line.

use std::io::{self, Write};

use serde::Serialize;

use super::chunks::in_order;
use crate::report::{Report, Rows};

/// How many rows one thread makes at once: less than 128 KiB, which is what malloc maps afresh.
const ROWS: usize = 250;

/// Writes whatever there is as one line of JSON.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Writes a report as [`render`] does, but its rows on several threads.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_report(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    let empty = Report {
        incomplete: report.incomplete.clone(),
        sockets: report.sockets.none(),
        processes: report.processes.clone(),
        listeners: report.listeners.clone(),
        queues: Vec::new(),
        stranded: report.stranded.clone(),
        stranded_in: Vec::new(),
        ..*report
    };
    let frame = serde_json::to_string(&empty)?;
    // In no text within it is this, because quotes are escaped there.
    let rows_begin = r#""sockets":["#;
    let (before, after) =
        frame.split_once(rows_begin).ok_or_else(|| io::Error::other("a report has no rows"))?;
    write!(out, "{before}{rows_begin}")?;
    let chunks: Vec<_> = report.sockets.chunks(ROWS).collect();
    let mut comma = "";
    in_order(&chunks, rows, |rows| {
        out.write_all(comma.as_bytes())?;
        comma = ",";
        out.write_all(&rows)
    })?;
    writeln!(out, "{after}")
}

/// Rows with commas between them.
fn rows(rows: &Rows<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROWS * 500);
    for row in rows.clone() {
        if !bytes.is_empty() {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut bytes, &row)?;
    }
    Ok(bytes)
}
