//! Writing to stdout and stderr, so that the exit code is right whoever reads them.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};

use super::asked::Asked;
use crate::cli::{Format, FormatArgs, MetricsArgs, ReportArgs};
use crate::host::terminal::Size;
use crate::host::{kernel, pidns};
use crate::report::Report;
use crate::report::column::Columns;
use crate::report::group::Grouped;
use crate::report::row::Ownership;
use crate::sock::name::sanitised;
use crate::view::text::Style;
use crate::view::{csv, json, prometheus, text};

/// A scan that is older than so many intervals is called old.
const INTERVALS: u32 = 3;

/// Says something beside the answer, in a line. The exit code does not depend on whether anybody hears it.
/// The values of options may be names that another program chose.
pub(super) fn note(message: impl Display) {
    let _ = writeln!(io::stderr(), "sockleak: {}", sanitised(&message.to_string()));
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

/// Reports in the form that the options ask for.
pub(super) struct Output<'a> {
    pub(super) args: &'a ReportArgs,
    columns: Columns,
    /// How far reports are apart, if this is one of many.
    interval: Option<Duration>,
    /// True once the names of columns are written, where they are written once.
    has_names: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(args: &'a ReportArgs, interval: Option<Duration>) -> Self {
        Self { args, columns: args.columns(), interval, has_names: false }
    }

    /// True if nothing is written of this report.
    pub(super) fn is_empty(&self, report: &Report<'_>) -> bool {
        report.sockets.is_empty()
    }

    /// Writes a report whole, as pipes and files take it.
    pub(super) fn write(&mut self, report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
        let args = self.args;
        let grouped = args.what.group_by.map(|by| Grouped::build(report, by));
        let mut buffered = io::BufWriter::with_capacity(64 << 10, out);
        let out = &mut buffered;
        match (args.format.get(), &grouped) {
            (Format::Json, None) => json::render_report(report, out)?,
            (Format::Json, Some(grouped)) => json::render(grouped, out)?,
            (Format::Csv, None) => csv::render(report, self.csv_style(), out)?,
            (Format::Csv, Some(grouped)) => csv::render_groups(grouped, self.csv_style(), out)?,
            // Only `list` has it, and writes it by `write_metrics`.
            (Format::Prometheus, _) => {}
            (Format::Text, _) if args.what.summary => {
                text::render_page(report, self.style(None), None, &[], out)?;
            }
            (Format::Text, None) => text::render(report, self.style(None), out)?,
            (Format::Text, Some(grouped)) => text::render_groups(grouped, self.style(None), out)?,
        }
        buffered.flush()
    }

    /// The text of a report for a terminal, with notes below; if it `must_fit`, in no more lines than
    /// it has.
    pub(super) fn page(
        &self,
        report: &Report<'_>,
        size: Size,
        must_fit: bool,
        notes: &[String],
    ) -> io::Result<Vec<u8>> {
        let args = self.args;
        let is_bounded = must_fit || !(args.how.all || args.how.rows.is_some());
        // The prompt takes a line, and so does the cursor.
        let height = is_bounded.then(|| size.height.saturating_sub(1));
        let style = self.style(Some(size.width));
        let mut page = Vec::new();
        match args.what.group_by {
            None => text::render_page(report, style, height, notes, &mut page)?,
            Some(by) => {
                let grouped = Grouped::build(report, by);
                text::render_groups_page(&grouped, style, height, notes, &mut page)?;
            }
        }
        Ok(page)
    }

    /// The style for a terminal that is so wide, or for something else.
    fn style(&self, width: Option<usize>) -> Style<'_> {
        let how = &self.args.how;
        Style {
            headers: !how.no_headers,
            colour: how.colour.is_on(width.is_some()),
            time: self.interval.is_some() && width.is_some(),
            stale: self.interval.map(|interval| interval.saturating_mul(INTERVALS)),
            columns: Some(&self.columns),
            rows: if self.args.what.summary { Some(0) } else { how.rows },
            width,
        }
    }

    fn csv_style(&mut self) -> csv::Style<'_> {
        let how = &self.args.how;
        let headers = !how.no_headers && !self.has_names;
        self.has_names = true;
        let time = self.interval.is_some();
        csv::Style { headers, time, columns: Some(&self.columns), rows: how.rows }
    }
}

/// Writes a report as metrics.
pub(super) fn write_metrics(
    report: &Report<'_>,
    metrics: MetricsArgs,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(out);
    prometheus::render(report, metrics.top, &kernel::release(), &mut buffered)?;
    buffered.flush()
}

/// Says that a subcommand has no metrics, if it is asked for them.
pub(super) fn has_no_metrics(format: &FormatArgs) -> bool {
    let asks = format.get() == Format::Prometheus;
    if asks {
        note(
            "invalid value 'prometheus' for '--format <FORMAT>': metrics are of one report; try \
             `sockleak list` or `sockleak export`",
        );
    }
    asks
}

/// Sentences that a single look adds to its rows: who may be a relay, what is stranded, and what may be
/// older than was asked for.
pub(super) fn beside(report: &Report<'_>, args: &ReportArgs) -> Vec<String> {
    let undated = args.who.min_age.and_then(|least| text::undated(report, least));
    text::hints(report).into_iter().chain(text::footer(report)).chain(undated).collect()
}

/// Says what cannot be seen from a PID namespace other than the host's, where that matters.
pub(super) fn out_of_sight(report: &Report<'_>, asked: &Asked) -> Option<String> {
    let has_unknown = || {
        pidns::is_inner() && report.sockets.iter().any(|row| row.ownership == Ownership::Unknown)
    };
    let narrowed = match asked.is_narrowed() {
        true => {
            ", and only the network namespaces of those inside are looked at (--netns names others)"
        }
        false => "",
    };
    (asked.is_narrowed() || has_unknown()).then(|| {
        format!(
            "holders outside of this PID namespace (a container's) cannot be seen, and print as \
             unknown{narrowed}: {}",
            pidns::REMEDY
        )
    })
}

/// Says in words why a report may be incomplete. JSON has it in the report.
pub(super) fn incomplete(report: &Report<'_>, args: &ReportArgs) -> Vec<String> {
    match args.format.get() {
        Format::Json => Vec::new(),
        _ => report.incomplete.iter().map(|reason| format!("incomplete: {reason}")).collect(),
    }
}
