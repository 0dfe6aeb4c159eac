//! The subcommands: wiring only.

pub mod doctor;
pub mod events;
pub mod list;
pub mod watch;

use std::io::{self, IsTerminal, Write};

use crate::cli::{Format, ReportArgs};
use crate::probe::Config;
use crate::report::Report;
use crate::report::group::Grouped;
use crate::sock::state::StateSet;
use crate::view::text::Style;
use crate::view::{json, text};

/// What to load for reports, whether one or one after the other.
fn config(args: &ReportArgs, follow: bool) -> Config {
    let watched = args.watched();
    Config {
        watched,
        transitions: if follow { watched } else { StateSet::NONE },
        brief: true,
        ring_size: args.kernel.ring_size,
        btf: args.kernel.btf.file.clone(),
    }
}

/// Writes a report as the options say.
fn show(
    report: &Report<'_>,
    args: &ReportArgs,
    stamped: bool,
    out: &mut (impl Write + IsTerminal),
) -> io::Result<()> {
    let style = Style {
        headers: !args.no_headers,
        colour: out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        time: stamped && out.is_terminal(),
    };
    let grouped = args.group_by.map(|by| Grouped::build(report, by));
    let mut buffered = io::BufWriter::with_capacity(64 << 10, &mut *out);
    match (args.format.get(), &grouped) {
        (Format::Json, None) => json::render_report(report, &mut buffered)?,
        (Format::Json, Some(grouped)) => json::render(grouped, &mut buffered)?,
        (Format::Text, None) => text::render(report, style, &mut buffered)?,
        (Format::Text, Some(grouped)) => text::render_groups(grouped, style, &mut buffered)?,
    }
    buffered.flush()?;
    drop(buffered);
    if args.format.get() == Format::Text {
        for reason in &report.incomplete {
            writeln!(io::stderr(), "sockleak: incomplete: {reason}")?;
        }
    }
    Ok(())
}
