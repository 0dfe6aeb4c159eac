//! Writing to stdout and stderr, so that the exit code is right whoever reads them.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};

use super::asked::Asked;
use crate::cli::{Format, ReportArgs};
use crate::host::pidns;
use crate::report::Report;
use crate::report::group::Grouped;
use crate::report::row::Ownership;
use crate::view::text::Style;
use crate::view::{json, text};

/// A scan that is older than so many intervals is called old.
const INTERVALS: u32 = 3;

/// Says something beside the answer. The exit code does not depend on whether anybody hears it.
pub(super) fn note(message: impl Display) {
    let _ = writeln!(io::stderr(), "sockleak: {message}");
}

/// Returns true if the reader of stdout has gone, as `| head` does: that is no failure.
///
/// # Errors
/// Any other failure to write.
pub(super) fn reader_has_gone(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}

/// Writes a report as the options say; with an interval, it is one of many.
pub(super) fn show(
    report: &Report<'_>,
    args: &ReportArgs,
    interval: Option<Duration>,
) -> io::Result<()> {
    let out = io::stdout();
    let style = Style {
        headers: !args.no_headers,
        colour: out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        time: interval.is_some() && out.is_terminal(),
        stale: interval.map(|interval| interval.saturating_mul(INTERVALS)),
    };
    let grouped = args.group_by.map(|by| Grouped::build(report, by));
    let mut buffered = io::BufWriter::with_capacity(64 << 10, out);
    match (args.format.get(), &grouped) {
        (Format::Json, None) => json::render_report(report, &mut buffered)?,
        (Format::Json, Some(grouped)) => json::render(grouped, &mut buffered)?,
        (Format::Text, None) => text::render(report, style, &mut buffered)?,
        (Format::Text, Some(grouped)) => text::render_groups(grouped, style, &mut buffered)?,
    }
    buffered.flush()
}

/// Writes what a single look adds to its rows: what is stranded, and who may be a relay.
pub(super) fn show_footer(report: &Report<'_>, args: &ReportArgs) -> io::Result<()> {
    if args.format.get() == Format::Text {
        let mut out = io::stdout();
        let footer = text::footer(report);
        let undated = args.min_age.and_then(|least| text::undated(report, least));
        for line in text::hints(report).into_iter().chain(footer).chain(undated) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Says what cannot be seen from a PID namespace other than the host's, where that matters; whether it
/// had to.
pub(super) fn say_what_is_out_of_sight(report: &Report<'_>, asked: &Asked) -> bool {
    let has_unknown = || {
        pidns::is_inner() && report.sockets.iter().any(|row| row.ownership == Ownership::Unknown)
    };
    let must = asked.is_narrowed() || has_unknown();
    if must {
        let narrowed = match asked.is_narrowed() {
            true => {
                ", and only the network namespaces of those inside are looked at (--netns names \
                     others)"
            }
            false => "",
        };
        note(format_args!(
            "holders outside of this PID namespace (a container's) cannot be seen, and print as \
             unknown{narrowed}: {}",
            pidns::REMEDY
        ));
    }
    must
}

/// Says in words why a report may be incomplete. JSON has it in the report.
pub(super) fn say_why_incomplete(report: &Report<'_>, args: &ReportArgs) {
    if args.format.get() == Format::Text {
        for reason in &report.incomplete {
            note(format_args!("incomplete: {reason}"));
        }
    }
}
