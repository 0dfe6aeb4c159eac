//! For people: aligned columns, a line for each process, a sentence for each verdict.
//!
//! [`render`] writes a report whole, as a pipe or a file takes it. [`render_page`] writes what fits a
//! terminal: a summary, the first rows, and how many more there are.

mod columns;
mod lines;
mod page;
pub mod run;
mod sentences;
mod summary;
mod table;
mod units;
mod width;

use std::io::{self, Write};
use std::time::Duration;

use self::columns::columns;
pub(super) use self::columns::since;
use self::lines::{ListenerLine, ProcessLine};
pub use self::page::{render_groups_page, render_page};
pub use self::sentences::{Watching, fitted, footer, hints, undated};
use self::sentences::{explanations, stale};
use self::table::{Column, Layout, table};
use self::units::{Count, Span};
use super::chunks;
use super::processes::Processes;
use crate::host::clock;
use crate::report::Report;
use crate::report::column::Columns;
use crate::report::group::{Group, Grouped};
use crate::sock::name::sanitised;

/// How to write it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// With the line above the columns.
    pub headers: bool,
    /// With colours.
    pub colour: bool,
    /// With a line that says when.
    pub time: bool,
    /// With a line that says how old the last scan is, if it is older than this.
    pub stale: Option<Duration>,
    /// The columns of rows, if not those by default.
    pub columns: Option<&'a Columns>,
    /// At most so many rows, or groups.
    pub rows: Option<usize>,
    /// No line is wider than this.
    pub width: Option<usize>,
}

impl Style<'_> {
    fn width(self) -> usize {
        self.width.unwrap_or(usize::MAX)
    }

    fn layout(self) -> Layout {
        Layout { headers: self.headers, colour: self.colour, width: self.width() }
    }

    /// The codes before and after text that stands out.
    fn bold(self) -> (&'static str, &'static str) {
        if self.colour { (BOLD, PLAIN) } else { ("", "") }
    }
}

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Writes a report; nothing at all where there are no rows.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(report: &Report<'_>, style: Style<'_>, out: &mut impl Write) -> io::Result<()> {
    if report.sockets.is_empty() {
        return Ok(());
    }
    let (bold, plain) = style.bold();
    if style.time {
        writeln!(out, "{bold}{}{plain}", clock::rfc3339_seconds(report.time))?;
    }
    rows(report, style, style.rows.unwrap_or(usize::MAX), out)?;
    for process in &report.processes {
        writeln!(out, "{bold}{}{plain}", ProcessLine(process, report.shown))?;
    }
    for listener in &report.listeners {
        writeln!(out, "{}", ListenerLine(listener))?;
    }
    let explanations = explanations(report).into_iter();
    for sentence in explanations.chain(stale(report.scanned_ago, style.stale)) {
        writeln!(out, "{sentence}")?;
    }
    Ok(())
}

/// Writes so many rows, and how many more there are.
fn rows(
    report: &Report<'_>,
    style: Style<'_>,
    most: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    if most == 0 {
        return writeln!(out, "{}", more(report.sockets.len()));
    }
    let processes = Processes::of(report);
    let columns = columns(report, style.columns.unwrap_or(&Columns::Default), &processes);
    let all = report.sockets.len();
    if most < all {
        table(&columns, &[report.sockets.first(most)], style.layout(), out)?;
        return writeln!(out, "{}", more(all - most));
    }
    let chunks: Vec<_> = report.sockets.chunks(chunks::ROWS).collect();
    table(&columns, &chunks, style.layout(), out)
}

fn more(count: usize) -> String {
    format!("… {} more: -a shows all", Count(count))
}

/// Writes groups; nothing at all where nothing is leaked.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_groups(grouped: &Grouped, style: Style<'_>, out: &mut impl Write) -> io::Result<()> {
    if grouped.groups.is_empty() {
        return Ok(());
    }
    if style.time {
        let (bold, plain) = style.bold();
        writeln!(out, "{bold}{}{plain}", clock::rfc3339_seconds(grouped.time))?;
    }
    let columns: [Column<'_, &Group>; 4] = [
        Column::right("COUNT", |group: &&Group, out| write!(out, "{}", group.count)),
        Column::right("OLDEST", |group: &&Group, out| write!(out, "{}", Span(group.oldest_age))),
        Column::left("WHAT", |group: &&Group, out| out.write_all(sanitised(&group.key).as_bytes()))
            .shrinking_to(20),
        Column::left("VERDICTS", |group: &&Group, out| {
            for (index, (verdict, count)) in group.verdicts.iter().enumerate() {
                let share = count * 100 / group.count;
                let comma = if index > 0 { ", " } else { "" };
                write!(out, "{comma}{verdict} {share}%")?;
            }
            Ok(())
        })
        .shrinking_to(15),
    ];
    let most = style.rows.unwrap_or(usize::MAX);
    let groups = grouped.groups.get(..most).unwrap_or(&grouped.groups);
    table(&columns, &[groups.iter()], style.layout(), out)?;
    if groups.len() < grouped.groups.len() {
        writeln!(out, "{}", more(grouped.groups.len() - groups.len()))?;
    }
    match stale(grouped.scanned_ago, style.stale) {
        Some(sentence) => writeln!(out, "{sentence}"),
        None => Ok(()),
    }
}
