//! For people: aligned columns, a line for each process, a sentence for each verdict.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

use super::chunks::{self, in_order};
use crate::report::group::Grouped;
use crate::report::row::{AgeIs, Ownership, SocketRow};
use crate::report::{Descriptors, ListenerRow, ProcessRow, Report, Shown, Sockets};
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
    /// With a line that says how old the last scan is, if it is older than this.
    pub stale: Option<Duration>,
}

/// Legends of the marks beside unread bytes.
const FAREWELL: &str = "?: perhaps the goodbye of a peer that closed an idle connection of a \
                        pool (TLS close_notify, HTTP 408, FTP 421, GOAWAY)";
const NEVER_READ: &str = "*: the program never read anything of what came";

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Writes a report; nothing at all where there are no rows.
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
    table(&columns(&report.sockets, report.shown), &chunks, style, out)?;

    for process in &report.processes {
        writeln!(out, "{bold}{}{plain}", ProcessLine(process, report.shown))?;
    }
    for listener in &report.listeners {
        writeln!(out, "{}", ListenerLine(listener))?;
    }
    let verdicts = &report.sockets.kinds().verdicts;
    for verdict in verdicts {
        writeln!(out, "{verdict}: {}", verdict.summary())?;
    }
    if report.sockets.kinds().has_farewell {
        writeln!(out, "{FAREWELL}")?;
    }
    if report.sockets.kinds().has_never_read {
        writeln!(out, "{NEVER_READ}")?;
    }
    stale(report.scanned_ago, style, out)
}

/// Says how old the last scan is, if it is old.
fn stale(scanned_ago: Option<u64>, style: Style, out: &mut impl Write) -> io::Result<()> {
    match (scanned_ago, style.stale) {
        (Some(ago), Some(stale)) if u128::from(ago) > stale.as_nanos() => {
            writeln!(out, "holders and unread bytes are as of the last scan, {} ago", Span(ago))
        }
        _ => Ok(()),
    }
}

/// A line that counts stranded sockets, where rows do not show them.
pub fn footer(report: &Report<'_>) -> Option<String> {
    if report.stranded.is_empty() || report.shown == Shown::Stranded {
        return None;
    }
    let counts: Vec<_> =
        report.stranded.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let name = |(pid, comm): &(u32, Option<&str>)| {
        format!(" in {}[{pid}]", comm.map_or("?".into(), sanitised))
    };
    let most = report.stranded_in.first().map(name).unwrap_or_default();
    let others = match report.stranded_in.len() {
        0 | 1 => String::new(),
        2 => " and another process".to_owned(),
        several => format!(" and {} other processes", several - 1),
    };
    Some(format!("also stranded: {}{most}{others}: see --stranded", counts.join(", ")))
}

/// Counts the leaked sockets that may be older than `least`, if there are rows; without any it is the
/// reason why the answer is incomplete.
pub fn undated(report: &Report<'_>, least: Duration) -> Option<String> {
    (report.undated > 0 && !report.sockets.is_empty()).then(|| {
        let least = humantime::format_duration(least);
        format!("{} more may be older than {least}; `sockleak watch` can tell", report.undated)
    })
}

/// Which holders may be relays, a line each: one look cannot tell.
pub fn hints(report: &Report<'_>) -> Vec<String> {
    let kinds = report.sockets.kinds();
    if ![Verdict::EofRead, Verdict::EofUnread].iter().any(|one| kinds.verdicts.contains(one)) {
        return Vec::new();
    }
    let half_shut = |process: &ProcessRow<'_>| {
        let descriptors = process.descriptors.as_ref()?;
        descriptors.stranded_as.iter().find(|(verdict, _)| *verdict == Verdict::HalfShut).copied()
    };
    let hint = |process: &ProcessRow<'_>| {
        let (_, count) = half_shut(process)?;
        let comm = process.comm.map_or("?".into(), sanitised);
        Some(format!(
            "{comm}[{}]: the holder also has {count} half-shut sockets: it may be a relay whose other \
             sides do not close; `sockleak watch` can tell",
            process.pid
        ))
    };
    report.processes.iter().filter_map(hint).collect()
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
    table(&columns, &[grouped.groups.iter()], style, out)?;
    stale(grouped.scanned_ago, style, out)
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

fn columns<'a>(sockets: &Sockets<'_>, shown: Shown) -> Vec<Column<SocketRow<'a>>> {
    let kinds = sockets.kinds();
    let mut columns: Vec<Column<SocketRow<'a>>> = Vec::new();
    // Each row shows the length of time that counts, under its name.
    if kinds.by_age {
        columns.push(Column::right("AGE", |row: &SocketRow<'_>, out| {
            if row.is_by_idleness() {
                return out.write_all(b"-");
            }
            out.extend_from_slice(if row.age_is == AgeIs::AtLeast { b">=" } else { b"" });
            out.write_all(Span(row.age).digits().as_bytes())
        }));
    }
    if kinds.by_idleness {
        columns.push(Column::right("IDLE", |row, out| match row.idle {
            Some(idle) if row.is_by_idleness() => out.write_all(Span(idle).digits().as_bytes()),
            _ => out.write_all(b"-"),
        }));
    }
    columns.extend([
        Column::right("PID", |row: &SocketRow<'_>, out| match row.pid {
            Some(pid) => out.write_all(Digits::of(pid).as_bytes()),
            None => out.write_all(b"-"),
        }),
        Column::left("COMM", |row, out| match (row.comm, row.ownership) {
            (Some(comm), _) => out.write_all(sanitised(comm).as_bytes()),
            (None, Ownership::Kernel) => out.write_all(b"(kernel)"),
            (None, Ownership::Unknown) => out.write_all(b"(unknown)"),
            (None, _) => out.write_all(b"-"),
        }),
        Column::right("FD", fd),
        Column::left("LOCAL", |row, out| row.local.write(out)),
        Column::left("REMOTE", |row, out| row.remote.write(out)),
    ]);
    // Only what differs is worth a column.
    let ordinary = |state: &State| matches!(state, State::CloseWait | State::Close);
    if matches!(shown, Shown::States(_)) || !kinds.states.iter().all(ordinary) {
        columns.push(Column::left("STATE", |row, out| out.write_all(row.state.name().as_bytes())));
    }
    if kinds.netns.len() > 1 {
        columns.push(Column::left("NETNS", |row, out| write!(out, "{}", row.netns)));
    }
    if sockets.has_peers() {
        columns.push(Column::left("PEER", |row, out| match row.peer_pid {
            Some(pid) => write!(out, "{}[{pid}]", row.peer_comm.map_or("?".into(), sanitised)),
            None => out.write_all(b"-"),
        }));
    }
    columns.push(Column::left("VERDICT", verdict));
    columns
}

fn fd(row: &SocketRow<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    if let (Some(ring), Some(slot)) = (row.ring_fd, row.ring_slot) {
        return write!(out, "{ring}/{slot}");
    }
    let mut fds = row.holders.fds();
    match (fds.next(), fds.next(), fds.count()) {
        (None, ..) => out.write_all(b"-"),
        (Some(fd), None, _) => out.write_all(Digits::of(fd).as_bytes()),
        (Some(a), Some(b), 0) if a + b < 110 => write!(out, "{a},{b}"),
        (_, _, more) => write!(out, "{}fds", more + 2),
    }
}

fn verdict(row: &SocketRow<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    out.write_all(row.verdict.map_or("-", Verdict::name).as_bytes())?;
    if let Some(bytes @ 1..) = row.unread_bytes {
        write!(out, " {}", Bytes(bytes))?;
        if row.maybe_farewell {
            out.write_all(b"?")?;
        } else if row.was_never_read {
            out.write_all(b"*")?;
        }
    }
    if let Some(relay) = row.relay {
        write!(out, ", waits for {}", relay.remote)?;
    }
    if row.holders_omitted > 0 {
        write!(out, ", +{} holders", row.holders_omitted)?;
    }
    if row.inherited {
        write!(out, ", inherited")?;
    }
    Ok(())
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

/// A process: what it holds, and what its descriptors refer to.
struct ProcessLine<'a>(&'a ProcessRow<'a>, Shown);

impl Display for ProcessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.0;
        let comm = process.comm.map_or("?".into(), sanitised);
        write!(f, "{comm}[{}]", process.pid)?;
        if let Some(place) = process.identity.place() {
            write!(f, " in {}", sanitised(&place))?;
        }
        f.write_str(": ")?;
        let mut counts = Vec::new();
        match self.1 {
            Shown::Leaked => counts.push((process.leaked, "leaked")),
            Shown::Stranded => {
                counts.extend([(process.leaked, "leaked"), (process.stranded, "stranded")]);
            }
            Shown::States(_) => counts.push((process.rows, "listed")),
        }
        let bound = if process.at_least { ">=" } else { "" };
        for (count, word) in counts.into_iter().filter(|&(count, _)| count > 0) {
            write!(f, "{bound}{count} {word}, ")?;
        }
        match (process.open_fds, process.fd_limit) {
            (Some(open), Some(limit)) => write!(f, "{open} of {limit} descriptors open")?,
            _ => f.write_str("its descriptors are not known")?,
        }
        if let Some(descriptors) = &process.descriptors {
            write!(f, ": {}", Census(descriptors))?;
        }
        if process.stopped {
            f.write_str("; stopped by a signal")?;
        }
        if let (Some(rate), Some(left)) = (process.leaked_per_minute, process.exhausted_in_seconds)
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            let left = Span((left * 1e9) as u64);
            write!(f, "; +{rate:.1}/min, out of descriptors in {left}")?;
        }
        Ok(())
    }
}

/// A census of descriptors: all counts that are not zero.
struct Census<'a>(&'a Descriptors);

impl Display for Census<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0;
        let stranded = of.stranded_as.iter().map(|(verdict, count)| (*count, verdict.name()));
        let counts = [(of.leaked, "leaked")].into_iter().chain(stranded).chain([
            (of.connected, "connected"),
            (of.listening, "listening"),
            (of.unconnected, "reserved"),
            (of.other_sockets, "other sockets"),
            (of.files, "files"),
        ]);
        let mut comma = "";
        for (count, what) in counts.filter(|&(count, _)| count > 0) {
            write!(f, "{comma}{count} {what}")?;
            comma = ", ";
        }
        if of.idle > 0 {
            write!(
                f,
                "; {} connections idle for over an hour, {} of them without keepalive",
                of.idle, of.idle_without_keepalive
            )?;
        }
        Ok(())
    }
}

struct ListenerLine<'a>(&'a ListenerRow<'a>);

impl Display for ListenerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerRow { local, pid, backlog, max_backlog, .. } = self.0;
        let comm = self.0.comm.map_or("?".into(), sanitised);
        write!(f, "listener {local} of {comm}[{pid}]")?;
        match self.0.holders.len() {
            0 | 1 => {}
            2 => f.write_str(" and another process")?,
            several => write!(f, " and {} other processes", several - 1)?,
        }
        if self.0.holders_omitted > 0 {
            write!(f, ", +{} holders", self.0.holders_omitted)?;
        }
        if let Some(fd) = self.0.fds.first() {
            write!(f, ", fd {fd}")?;
        }
        write!(f, ": backlog: {backlog}/{max_backlog}")?;
        for (count, what) in
            [(self.0.never_accepted, "never accepted"), (self.0.unaccepted, "unaccepted")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
