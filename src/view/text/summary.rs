//! The summary: a line for each service that holds rows, or process that is of none.

use std::cmp::Reverse;
use std::fmt::Display;
use std::io::{self, Write};

use super::lines::Census;
use super::table::{Column, Layout, table};
use super::units::{Count, Span};
use crate::report::row::{Oldest, Ownership};
use crate::report::service::{Rows, Service};
use crate::report::{Nobody, ProcessRow, Report, Shown};
use crate::sock::name::sanitised;
use crate::view::processes::nobody;

/// A line of the summary.
struct Line<'a> {
    rows: Rows,
    at_least: bool,
    oldest: Oldest,
    who: String,
    /// The container, the pod or the unit.
    place: Option<String>,
    /// The process that has the least part of its descriptors left; `None` if there is none.
    fullest: Option<&'a ProcessRow<'a>>,
    processes: Vec<&'a ProcessRow<'a>>,
}

impl<'a> Line<'a> {
    fn of_service(service: Service<'a>) -> Self {
        let fullest = service.fullest();
        let Service { processes, rows, oldest } = service;
        let worst = processes.first();
        let comm = worst.and_then(|worst| worst.comm).map_or("?".into(), sanitised);
        let who = match &processes[..] {
            [process] => format!("{comm}[{}]", process.pid),
            several => format!("{comm} ×{}", Count(several.len())),
        };
        let place = worst.and_then(|worst| worst.identity.place());
        Self {
            rows,
            at_least: processes.iter().any(|process| process.at_least),
            oldest,
            who,
            place: place.map(|place| sanitised(&place).into_owned()),
            fullest,
            processes,
        }
    }

    fn of_nobody(counts: Nobody, ownership: Ownership) -> Self {
        Self {
            rows: Rows { held: counts.rows, ..Rows::default() },
            at_least: false,
            oldest: counts.oldest,
            who: nobody(ownership).to_owned(),
            place: None,
            fullest: None,
            processes: Vec::new(),
        }
    }

    /// The rate of the process that leaks fastest. Forked workers leak the same sockets.
    fn growth(&self) -> Option<f64> {
        let rates = self.processes.iter().filter_map(|process| process.leaked_per_minute);
        rates.max_by(f64::total_cmp)
    }

    /// When the first is out of descriptors.
    fn left(&self) -> Option<f64> {
        let left = self.processes.iter().filter_map(|process| process.exhausted_in_seconds);
        left.min_by(f64::total_cmp)
    }
}

/// Writes at most so many lines, those with most first; the last one says how many more there are, if
/// there are more.
pub(super) fn summary(
    report: &Report<'_>,
    most: usize,
    layout: Layout,
    out: &mut impl Write,
) -> io::Result<()> {
    let services = Service::all(report).into_iter().map(Line::of_service);
    let nobodies =
        [(report.kernel, Ownership::Kernel), (report.unknown, Ownership::Unknown)].into_iter();
    let nobodies = nobodies.filter(|(counts, _)| counts.rows > 0);
    let nobodies = nobodies.map(|(counts, ownership)| Line::of_nobody(counts, ownership));
    let mut lines: Vec<_> = services.chain(nobodies).collect();
    lines.sort_by_key(|line| Reverse((line.rows.held, line.rows.all())));
    let fits = lines.len() <= most;
    let shown = if fits { &lines } else { &lines[..most.saturating_sub(1)] };
    table(&columns(report.shown, shown), &[shown.iter()], layout, out)?;
    let more = lines.len() - shown.len();
    match more {
        0 => Ok(()),
        more => writeln!(out, "… {} more", Count(more)),
    }
}

fn columns<'a, 'l>(shown: Shown, lines: &[Line<'_>]) -> Vec<Column<'a, &'l Line<'l>>> {
    let any = |has: &dyn Fn(&Line<'_>) -> bool| lines.iter().any(has);
    let bounded = |count: usize, line: &Line<'_>, out: &mut Vec<u8>| {
        write!(out, "{}{}", if line.at_least { ">=" } else { "" }, Count(count))
    };
    let title = if matches!(shown, Shown::States(_)) { "LISTED" } else { "LEAKED" };
    let mut columns =
        vec![Column::right(title, move |line: &&Line<'_>, out| bounded(line.rows.held, line, out))];
    if shown == Shown::Stranded {
        columns.push(Column::right("STRANDED", move |line: &&Line<'_>, out| {
            bounded(line.rows.stranded, line, out)
        }));
    }
    if any(&|line| line.rows.queued > 0) {
        columns.push(Column::right("QUEUED", |line: &&Line<'_>, out| {
            write!(out, "{}", Count(line.rows.queued))
        }));
    }
    columns.push(Column::right("OLDEST", |line: &&Line<'_>, out| {
        let bound = if line.oldest.at_least { ">=" } else { "" };
        write!(out, "{bound}{}", Span(line.oldest.lasting))
    }));
    columns.push(Column::right("FDS", |line: &&Line<'_>, out| {
        match line.fullest.map(|process| (process.open_fds, process.fd_limit)) {
            Some((Some(open), Some(limit))) => write!(out, "{open}/{limit}"),
            _ => out.write_all(b"-"),
        }
    }));
    if any(&|line| line.growth().is_some()) {
        columns.push(Column::right("PER-MIN", |line: &&Line<'_>, out| {
            or_dash(line.growth().map(rate), out)
        }));
    }
    if any(&|line| line.left().is_some()) {
        columns.push(Column::right("FULL-IN", |line: &&Line<'_>, out| {
            or_dash(line.left().map(Span::of_seconds), out)
        }));
    }
    columns.push(
        Column::left("WHO", |line: &&Line<'_>, out| out.write_all(line.who.as_bytes()))
            .shrinking_to(12),
    );
    if any(&|line| line.place.is_some()) {
        columns.push(
            Column::left("WHERE", |line: &&Line<'_>, out| or_dash(line.place.as_ref(), out))
                .shrinking_to(12),
        );
    }
    columns.push(Column::left("DESCRIPTORS", descriptors).shrinking_to(20).or_none());
    columns
}

/// Writes what the descriptors of the fullest process refer to.
fn descriptors(line: &&Line<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(process) = line.fullest else {
        return out.write_all(b"-");
    };
    if line.processes.len() > 1 {
        write!(out, "of {}: ", process.pid)?;
    }
    if process.stopped {
        out.write_all(b"stopped by a signal; ")?;
    }
    or_dash(process.descriptors.as_ref().map(Census), out)
}

fn or_dash(value: Option<impl Display>, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_all(b"-"),
    }
}

/// Sockets per minute; what rounds to none has no sign.
fn rate(per_minute: f64) -> String {
    match per_minute.abs() < 0.05 {
        true => "0".to_owned(),
        false => format!("{per_minute:+.1}"),
    }
}
