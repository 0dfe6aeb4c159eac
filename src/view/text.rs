//! For people: aligned columns, a line for each process, a sentence for each verdict.

use std::fmt::{self, Display};
use std::io::{self, Write};

use super::chunks::{self, in_order};
use crate::report::group::Grouped;
use crate::report::{AgeIs, Kinds, ListenerRow, Ownership, ProcessRow, Report, SocketRow};
use crate::sock::digits::Digits;
use crate::sock::leak::Verdict;
use crate::sock::name::sanitised;
use crate::sock::state::State;

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
pub fn render(report: &Report<'_>, style: Style, out: &mut impl Write) -> io::Result<()> {
    if report.sockets.is_empty() {
        return Ok(());
    }
    let (bold, plain) = if style.colour { (BOLD, PLAIN) } else { ("", "") };
    if style.time {
        writeln!(out, "{bold}{}{plain}", humantime::format_rfc3339_seconds(report.time))?;
    }
    let chunks: Vec<_> = report.sockets.chunks(chunks::ROWS).collect();
    let kinds = report.sockets.kinds();
    table(&columns(kinds), &chunks, style, out)?;

    for process in &report.processes {
        writeln!(out, "{bold}{}{plain}", ProcessLine(process))?;
    }
    for listener in &report.listeners {
        writeln!(out, "{}", ListenerLine(listener))?;
    }
    for verdict in &kinds.verdicts {
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
    let columns: [Column<&crate::report::group::Group>; 4] = [
        Column::right("COUNT", |group, out| write!(out, "{}", group.count)),
        Column::right("OLDEST", |group, out| write!(out, "{}", Span(group.oldest_age))),
        Column::left("WHAT", |group, out| out.write_all(sanitised(&group.key).as_bytes())),
        Column::left("VERDICTS", |group, out| {
            for (index, (verdict, count)) in group.verdicts.iter().enumerate() {
                let share = count * 100 / group.count;
                let comma = if index > 0 { ", " } else { "" };
                write!(out, "{comma}{verdict} {share}%")?;
            }
            Ok(())
        }),
    ];
    table(&columns, &[grouped.groups.iter()], style, out)
}

/// A column: how a cell of it is written.
struct Column<Row> {
    title: &'static str,
    to_the_right: bool,
    cell: fn(&Row, &mut Vec<u8>) -> io::Result<()>,
}

impl<Row> Column<Row> {
    fn left(title: &'static str, cell: fn(&Row, &mut Vec<u8>) -> io::Result<()>) -> Self {
        Self { title, to_the_right: false, cell }
    }

    fn right(title: &'static str, cell: fn(&Row, &mut Vec<u8>) -> io::Result<()>) -> Self {
        Self { title, to_the_right: true, cell }
    }
}

fn columns<'a>(kinds: &Kinds) -> Vec<Column<SocketRow<'a>>> {
    let mut columns = vec![
        Column::right("AGE", |row: &SocketRow<'_>, out| {
            out.extend_from_slice(if row.age_is == AgeIs::AtLeast { b">=" } else { b"" });
            out.write_all(Span(row.age).digits().as_bytes())
        }),
        Column::right("PID", |row, out| match row.pid {
            Some(pid) => out.write_all(Digits::of(pid).as_bytes()),
            None => out.write_all(b"-"),
        }),
        Column::left("COMM", |row, out| match (row.comm, row.ownership) {
            (Some(comm), _) => out.write_all(sanitised(comm).as_bytes()),
            (None, Ownership::Kernel) => out.write_all(b"(kernel)"),
            (None, Ownership::Unknown) => out.write_all(b"(unknown)"),
            (None, _) => out.write_all(b"-"),
        }),
        Column::right("FD", |row, out| match row.holders {
            [] => out.write_all(b"-"),
            [one] => out.write_all(Digits::of(one.fd).as_bytes()),
            [a, b] if a.fd + b.fd < 110 => write!(out, "{},{}", a.fd, b.fd),
            more => write!(out, "{}fds", more.len()),
        }),
        Column::left("LOCAL", |row, out| row.local.write(out)),
        Column::left("REMOTE", |row, out| row.remote.write(out)),
    ];
    // Only what differs is worth a column.
    let ordinary = |state: &State| matches!(state, State::CloseWait | State::Close);
    if !kinds.states.iter().all(ordinary) {
        columns.push(Column::left("STATE", |row, out| out.write_all(row.state.name().as_bytes())));
    }
    if kinds.netns.len() > 1 {
        columns.push(Column::left("NETNS", |row, out| write!(out, "{}", row.netns)));
    }
    columns.push(Column::left("VERDICT", |row, out| match (row.verdict, row.unread_bytes) {
        (Some(Verdict::DataUnread), Some(bytes)) => write!(out, "data-unread {}", Bytes(bytes)),
        (Some(verdict), _) => out.write_all(verdict.name().as_bytes()),
        (None, _) => out.write_all(b"-"),
    }));
    columns
}

/// Writes rows below each other.
fn table<Row, Rows>(
    columns: &[Column<Row>],
    chunks: &[Rows],
    style: Style,
    out: &mut impl Write,
) -> io::Result<()>
where
    Rows: Iterator<Item = Row> + Clone + Sync,
{
    let mut all = Vec::new();
    if style.headers {
        all.push(Cells::titles(columns));
    }
    let make = |rows: &Rows| Cells::of(columns, rows.clone());
    in_order(chunks, make, |cells| {
        all.push(cells);
        Ok(())
    })?;
    let widest = |at: usize| all.iter().map(|cells| cells.widths[at]).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(widest).collect();
    let make = |cells: &Cells| Ok(cells.lines(columns, &widths));
    in_order(&all, make, |lines| out.write_all(&lines))
}

/// The cells of some rows: written before it is known how wide the columns are.
struct Cells {
    text: Vec<u8>,
    /// Where in the text each cell ends.
    ends: Vec<u32>,
    /// How wide the columns of these rows have to be.
    widths: Vec<usize>,
}

impl Cells {
    fn titles<Row>(columns: &[Column<Row>]) -> Self {
        let mut titles = Self { text: Vec::new(), ends: Vec::new(), widths: Vec::new() };
        for column in columns {
            titles.text.extend_from_slice(column.title.as_bytes());
            titles.end();
            titles.widths.push(column.title.len());
        }
        titles
    }

    fn of<Row>(columns: &[Column<Row>], rows: impl Iterator<Item = Row>) -> io::Result<Self> {
        let ends = Vec::with_capacity(rows.size_hint().0 * columns.len());
        let mut cells = Self { text: Vec::new(), ends, widths: vec![0; columns.len()] };
        for row in rows {
            for (at, column) in columns.iter().enumerate() {
                let begin = cells.text.len();
                (column.cell)(&row, &mut cells.text)?;
                cells.end();
                cells.widths[at] = chars(&cells.text[begin..]).max(cells.widths[at]);
            }
        }
        Ok(cells)
    }

    /// Ends a cell. These are a thousand rows, and not 4 GiB.
    fn end(&mut self) {
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// The lines that they make in columns of these widths.
    fn lines<Row>(&self, columns: &[Column<Row>], widths: &[usize]) -> Vec<u8> {
        let rows = self.ends.len() / columns.len();
        let mut lines = Vec::with_capacity(rows * (widths.iter().sum::<usize>() + widths.len()));
        let mut begin = 0;
        for ends in self.ends.chunks(columns.len()) {
            for ((column, &end), &width) in columns.iter().zip(ends).zip(widths) {
                let end = end as usize;
                let cell = &self.text[begin..end];
                let padding = width - chars(cell);
                let (before, after) = if column.to_the_right { (padding, 0) } else { (0, padding) };
                lines.resize(lines.len() + before, b' ');
                lines.extend_from_slice(cell);
                lines.resize(lines.len() + after + 1, b' ');
                begin = end;
            }
            lines.truncate(lines.trim_ascii_end().len());
            lines.push(b'\n');
        }
        lines
    }
}

/// How many characters this UTF-8 has.
fn chars(text: &[u8]) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.iter().filter(|&byte| byte & 0xc0 != 0x80).count(),
    }
}

/// A length of time in at most six characters.
struct Span(u64);

impl Span {
    fn digits(&self) -> Digits {
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

struct ProcessLine<'a>(&'a ProcessRow<'a>);

impl Display for ProcessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.0;
        let comm = process.comm.map_or("?".into(), sanitised);
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

struct ListenerLine<'a>(&'a ListenerRow<'a>);

impl Display for ListenerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerRow { local, pid, backlog, max_backlog, never_accepted, .. } = self.0;
        let comm = self.0.comm.map_or("?".into(), sanitised);
        let fd = self.0.holders.first().map_or(0, |holder| holder.fd);
        write!(
            f,
            "listener {local} of {comm}[{pid}], fd {fd}: backlog: {backlog}/{max_backlog}, \
             {never_accepted} never accepted"
        )
    }
}
