//! For people: aligned columns, a line for each process, a sentence for each verdict.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use super::sanitised;
use crate::group::Grouped;
use crate::report::{AgeIs, ListenerRow, Ownership, ProcessRow, Report, SocketRow};
use crate::state::State;
use crate::verdict::Verdict;

/// How to write it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With the line above the columns.
    pub headers: bool,
    /// With colours.
    pub colour: bool,
    /// With a line that says when.
    pub time: bool,
}

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Writes a report; nothing at all where nothing is leaked.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    if report.sockets.is_empty() {
        return Ok(());
    }
    let (bold, plain) = if style.colour { (BOLD, PLAIN) } else { ("", "") };
    if style.time {
        writeln!(out, "{bold}{}{plain}", humantime::format_rfc3339_seconds(report.time))?;
    }
    table(&columns(report), &report.sockets, style, out)?;

    for process in &report.processes {
        writeln!(out, "{bold}{}{plain}", ProcessLine(process))?;
    }
    for listener in &report.listeners {
        writeln!(out, "{}", ListenerLine(listener))?;
    }
    let verdicts: BTreeSet<_> = report.sockets.iter().filter_map(|row| row.verdict).collect();
    for verdict in verdicts {
        writeln!(out, "{verdict}: {}", verdict.summary())?;
    }
    Ok(())
}

/// Writes groups; nothing at all where nothing is leaked.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_groups(grouped: &Grouped, style: Style, out: &mut impl Write) -> io::Result<()> {
    if grouped.groups.is_empty() {
        return Ok(());
    }
    if style.time {
        writeln!(out, "{}", humantime::format_rfc3339_seconds(grouped.time))?;
    }
    let columns: [Column<crate::group::Group>; 4] = [
        Column::right("COUNT", |group, out| write!(out, "{}", group.count)),
        Column::right("OLDEST", |group, out| write!(out, "{}", Span(group.oldest_age))),
        Column::left("WHAT", |group, out| out.write_str(&sanitised(&group.key))),
        Column::left("VERDICTS", |group, out| {
            for (index, (verdict, count)) in group.verdicts.iter().enumerate() {
                let share = count * 100 / group.count;
                let comma = if index > 0 { ", " } else { "" };
                write!(out, "{comma}{verdict} {share}%")?;
            }
            Ok(())
        }),
    ];
    table(&columns, &grouped.groups, style, out)
}

/// A column: how a cell of it is written.
struct Column<Row> {
    title: &'static str,
    to_the_right: bool,
    cell: fn(&Row, &mut String) -> fmt::Result,
}

impl<Row> Column<Row> {
    fn left(title: &'static str, cell: fn(&Row, &mut String) -> fmt::Result) -> Self {
        Self { title, to_the_right: false, cell }
    }

    fn right(title: &'static str, cell: fn(&Row, &mut String) -> fmt::Result) -> Self {
        Self { title, to_the_right: true, cell }
    }
}

fn columns(report: &Report) -> Vec<Column<SocketRow>> {
    let mut columns = vec![
        Column::right("AGE", |row: &SocketRow, out| {
            out.push_str(if row.age_is == AgeIs::AtLeast { ">=" } else { "" });
            write!(out, "{}", Span(row.age))
        }),
        Column::right("PID", |row, out| match row.pid {
            Some(pid) => write!(out, "{pid}"),
            None => out.write_str("-"),
        }),
        Column::left("COMM", |row, out| match (&row.comm, row.ownership) {
            (Some(comm), _) => out.write_str(&sanitised(comm)),
            (None, Ownership::Kernel) => out.write_str("(kernel)"),
            (None, Ownership::Unknown) => out.write_str("(unknown)"),
            (None, _) => out.write_str("-"),
        }),
        Column::right("FD", |row, out| match row.fds.as_slice() {
            [] => out.write_str("-"),
            [fd] => write!(out, "{fd}"),
            [a, b] if a + b < 110 => write!(out, "{a},{b}"),
            more => write!(out, "{}fds", more.len()),
        }),
        Column::left("LOCAL", |row, out| write!(out, "{}", row.local)),
        Column::left("REMOTE", |row, out| write!(out, "{}", row.remote)),
    ];
    // Only what differs is worth a column.
    let ordinary = |row: &SocketRow| matches!(row.state, State::CloseWait | State::Close);
    if !report.sockets.iter().all(ordinary) {
        columns.push(Column::left("STATE", |row, out| out.write_str(row.state.name())));
    }
    if report.sockets.iter().any(|row| row.netns != report.sockets[0].netns) {
        columns.push(Column::left("NETNS", |row, out| write!(out, "{}", row.netns)));
    }
    columns.push(Column::left("VERDICT", |row, out| match (row.verdict, row.unread_bytes) {
        (Some(Verdict::DataUnread), Some(bytes)) => write!(out, "data-unread {}", Bytes(bytes)),
        (Some(verdict), _) => out.write_str(verdict.name()),
        (None, _) => out.write_str("-"),
    }));
    columns
}

fn table<Row>(
    columns: &[Column<Row>],
    rows: &[Row],
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    // Every cell is written once, into one text, before the columns' widths are known.
    let mut text = String::new();
    let mut ends = Vec::with_capacity((rows.len() + 1) * columns.len());
    let mut widths = vec![0; columns.len()];
    if style.headers {
        for (column, width) in columns.iter().zip(&mut widths) {
            text.push_str(column.title);
            ends.push(text.len());
            *width = column.title.len();
        }
    }
    for row in rows {
        for (column, width) in columns.iter().zip(&mut widths) {
            let begin = text.len();
            (column.cell)(row, &mut text).map_err(io::Error::other)?;
            ends.push(text.len());
            *width = (*width).max(chars(&text[begin..]));
        }
    }

    let mut line = Vec::new();
    let mut begin = 0;
    for row in ends.chunks(columns.len()) {
        line.clear();
        for ((column, &end), &width) in columns.iter().zip(row).zip(&widths) {
            let cell = &text[begin..end];
            let padding = width - chars(cell);
            let (before, after) = if column.to_the_right { (padding, 0) } else { (0, padding) };
            line.resize(line.len() + before, b' ');
            line.extend_from_slice(cell.as_bytes());
            line.resize(line.len() + after + 1, b' ');
            begin = end;
        }
        line.truncate(line.trim_ascii_end().len());
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn chars(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}

/// A length of time in at most six characters.
struct Span(u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        match seconds {
            0..60 => write!(f, "{seconds}.{}s", self.0 / 100_000_000 % 10),
            60..3_600 => write!(f, "{}m{:02}s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// A number of bytes in at most four characters.
struct Bytes(u32);

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

struct ProcessLine<'a>(&'a ProcessRow);

impl Display for ProcessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.0;
        let comm = process.comm.as_deref().map_or("?".into(), sanitised);
        write!(f, "{comm}[{}]: {} leaked", process.pid, process.leaked)?;
        if let (Some(open), Some(limit)) = (process.open_fds, process.fd_limit) {
            write!(f, ", {open} of {limit} descriptors open")?;
        }
        if let (Some(rate), Some(left)) = (process.leaked_per_minute, process.exhausted_in_seconds)
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            let left = Span((left * 1e9) as u64);
            write!(f, ", {rate:.1} more a minute, the last in {left}")?;
        }
        Ok(())
    }
}

struct ListenerLine<'a>(&'a ListenerRow);

impl Display for ListenerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerRow { local, pid, backlog, max_backlog, never_accepted, .. } = self.0;
        let comm = self.0.comm.as_deref().map_or("?".into(), sanitised);
        let fd = self.0.fds.first().copied().unwrap_or_default();
        write!(
            f,
            "listener {local} of {comm}[{pid}], fd {fd}: backlog: {backlog}/{max_backlog}, \
             {never_accepted} never accepted"
        )
    }
}
