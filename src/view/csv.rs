//! For spreadsheets and databases: RFC 4180, a record for each row.

use std::io::{self, Write};
use std::time::SystemTime;

use clap::ValueEnum;
use csv::{ReaderBuilder, Writer, WriterBuilder};
use serde::Serialize;

use super::processes::Processes;
use super::text::since;
use crate::host::clock;
use crate::report::Report;
use crate::report::column::{Column, Columns};
use crate::report::group::Grouped;
use crate::report::row::SocketRow;
use crate::sock::event::Pid;
use crate::sock::name::sanitised;

/// The columns by default: every one, always at the same place. A peer has to be asked for.
fn default(report: &Report<'_>) -> Vec<Column> {
    let all = Column::value_variants().iter().copied();
    all.filter(|&column| column != Column::Peer || report.sockets.has_peers()).collect()
}

/// How to write it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// With the names of the columns first.
    pub headers: bool,
    /// With the time of the report in the first column.
    pub time: bool,
    /// The columns, if not those by default.
    pub columns: Option<&'a Columns>,
    /// At most so many rows.
    pub rows: Option<usize>,
}

/// Writes a report: numbers as in JSON, several descriptors with spaces between them, and nothing
/// where something is unknown.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(report: &Report<'_>, style: Style<'_>, out: &mut impl Write) -> io::Result<()> {
    let columns = style.columns.unwrap_or(&Columns::Default).over(default(report));
    let mut writer = Writer::from_writer(out);
    let time = clock::rfc3339(report.time).to_string();
    if style.headers {
        if style.time {
            writer.write_field("time")?;
        }
        for column in &columns {
            writer.write_field(column.name())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    let processes = Processes::of(report);
    for row in report.sockets.first(style.rows.unwrap_or(usize::MAX)) {
        if style.time {
            writer.write_field(&time)?;
        }
        for &column in &columns {
            writer.write_field(field(column, &row, report.time, &processes))?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}

/// Writes groups.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_groups(grouped: &Grouped, style: Style<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer::from_writer(out);
    let time = clock::rfc3339(grouped.time).to_string();
    let record = |time: &str, [key, count, oldest, verdicts]: [&str; 4]| {
        let time = style.time.then(|| time.to_owned());
        let rest = [key, count, oldest, verdicts].map(str::to_owned);
        time.into_iter().chain(rest)
    };
    if style.headers {
        writer.write_record(record("time", ["key", "count", "oldest", "verdicts"]))?;
    }
    for group in grouped.groups.iter().take(style.rows.unwrap_or(usize::MAX)) {
        let verdicts: Vec<_> =
            group.verdicts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
        let key = no_formula(sanitised(&group.key).into_owned());
        let count = group.count.to_string();
        let oldest = seconds(group.oldest_age);
        writer.write_record(record(&time, [&*key, &count, &oldest, &verdicts.join(", ")]))?;
    }
    writer.flush()
}

/// Writes any record that has its columns in itself; with their names, if it is the first.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_record(
    record: &impl Serialize,
    headers: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut plain = WriterBuilder::new().has_headers(headers).from_writer(Vec::new());
    plain.serialize(record)?;
    let plain = plain.into_inner().map_err(|error| error.into_error())?;
    let mut writer = Writer::from_writer(out);
    for record in ReaderBuilder::new().has_headers(false).from_reader(&*plain).records() {
        writer.write_record(record?.iter().map(|field| no_formula(field.to_owned())))?;
    }
    writer.flush()
}

fn field(
    column: Column,
    row: &SocketRow<'_>,
    now: SystemTime,
    processes: &Processes<'_>,
) -> String {
    let process = || processes.get(row);
    match column {
        Column::Age => seconds(row.age),
        Column::AgeIs => row.age_is.name().to_owned(),
        Column::Idle => row.idle.map(seconds).unwrap_or_default(),
        Column::Since => clock::rfc3339(since(row, now)).to_string(),
        Column::Pid => known(row.pid),
        Column::Comm => {
            no_formula(row.comm.map(|comm| sanitised(comm).into_owned()).unwrap_or_default())
        }
        Column::Cmd
        | Column::Exe
        | Column::User
        | Column::Unit
        | Column::Container
        | Column::Pod => no_formula(processes.whose(column, row).unwrap_or_default()),
        Column::Fd => {
            let fds: Vec<_> = row.holders.fds().map(|fd| fd.to_string()).collect();
            fds.join(" ")
        }
        Column::Local => row.local.to_string(),
        Column::Remote => row.remote.to_string(),
        Column::Peer => {
            no_formula(row.peer_pid.map(|pid| peer(pid, row.peer_comm)).unwrap_or_default())
        }
        Column::State => row.state.name().to_owned(),
        Column::Class => row.class.name().to_owned(),
        Column::Verdict => row.verdict.map(|verdict| verdict.name().to_owned()).unwrap_or_default(),
        Column::Unread => known(row.unread_bytes),
        Column::Received => known(row.bytes_received),
        Column::Sent => known(row.bytes_acked),
        Column::Netns => row.netns.to_string(),
        Column::Cookie => known(row.cookie),
        Column::Used => known(process().and_then(|process| process.open_fds)),
        Column::Limit => known(process().and_then(|process| process.fd_limit)),
        Column::Direction => {
            row.direction.map(|direction| direction.name().to_owned()).unwrap_or_default()
        }
    }
}

/// A name that another process chose, with an apostrophe in front if a spreadsheet would take it for a
/// formula.
fn no_formula(name: String) -> String {
    match name.starts_with(['=', '+', '-', '@']) {
        true => format!("'{name}"),
        false => name,
    }
}

fn peer(pid: Pid, comm: Option<&str>) -> String {
    format!("{}[{pid}]", comm.map_or("?".into(), sanitised))
}

fn known(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// ns as seconds, to the millisecond, as in JSON.
fn seconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}
