//! The columns of rows: which they are, and how a cell of each is written.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::table::Column;
use super::units::{Bytes, Span};
use crate::host::clock;
use crate::report::column::{Column as Name, Columns};
use crate::report::row::{AgeIs, SocketRow};
use crate::report::{Report, Shown};
use crate::sock::digits::Digits;
use crate::sock::leak::Verdict;
use crate::sock::name::sanitised;
use crate::sock::state::State;
use crate::view::processes::{Processes, nobody};

/// The columns that a report's rows have by default: those that tell them apart.
fn default(report: &Report<'_>) -> Vec<Name> {
    let kinds = report.sockets.kinds();
    let ordinary = |state: &State| matches!(state, State::CloseWait | State::Close);
    let has_states = matches!(report.shown, Shown::States(_)) || !kinds.states.iter().all(ordinary);
    // Of the others nothing is known.
    let known = || report.processes.iter().map(|one| one.identity).filter(|of| of.known.cgroup);
    let containers: BTreeSet<_> = known().map(|of| &of.container_id).collect();
    // The unit of a container says nothing more.
    let outside = known().filter(|of| of.container_id.is_none());
    let units: BTreeSet<_> = outside.map(|of| &of.unit).collect();
    let columns = [
        (Name::Age, kinds.by_age),
        (Name::Idle, kinds.by_idleness),
        (Name::Pid, true),
        (Name::Comm, true),
        (Name::Unit, units.len() > 1),
        (Name::Container, containers.len() > 1),
        (Name::Fd, true),
        (Name::Local, true),
        (Name::Remote, true),
        (Name::State, has_states),
        (Name::Netns, kinds.netns.len() > 1),
        (Name::Peer, report.sockets.has_peers()),
        (Name::Verdict, true),
    ];
    columns.into_iter().filter(|&(_, is_worth_it)| is_worth_it).map(|(name, _)| name).collect()
}

/// The columns of a report's rows.
pub(super) fn columns<'a, 'r>(
    report: &Report<'_>,
    asked: &Columns,
    processes: &'a Processes<'a>,
) -> Vec<Column<'a, SocketRow<'r>>> {
    // By default each row shows the length of time that counts, under its name.
    let shows_all = asked.named().iter().any(|name| matches!(name, Name::Age | Name::Idle));
    let names = asked.over(default(report)).into_iter();
    names.map(|name| column(name, shows_all, report.time, processes)).collect()
}

fn column<'a, 'r>(
    name: Name,
    shows_all: bool,
    now: SystemTime,
    processes: &'a Processes<'a>,
) -> Column<'a, SocketRow<'r>> {
    match name {
        Name::Age => Column::right("AGE", move |row: &SocketRow<'r>, out| {
            if !shows_all && row.is_by_idleness() {
                return out.write_all(b"-");
            }
            out.extend_from_slice(if row.age_is == AgeIs::AtLeast { b">=" } else { b"" });
            out.write_all(Span(row.age).digits().as_bytes())
        }),
        Name::AgeIs => Column::left("AGE-IS", |row: &SocketRow<'r>, out| {
            out.write_all(row.age_is.name().as_bytes())
        }),
        Name::Idle => Column::right("IDLE", move |row: &SocketRow<'r>, out| match row.idle {
            Some(idle) if shows_all || row.is_by_idleness() => {
                out.write_all(Span(idle).digits().as_bytes())
            }
            _ => out.write_all(b"-"),
        }),
        Name::Since => Column::right("SINCE", move |row: &SocketRow<'r>, out| {
            out.extend_from_slice(if row.age_is == AgeIs::AtLeast { b"<=" } else { b"" });
            write!(out, "{}", clock::rfc3339_seconds(since(row, now)))
        }),
        Name::Pid => Column::right("PID", |row: &SocketRow<'r>, out| match row.pid {
            Some(pid) => out.write_all(Digits::of(pid).as_bytes()),
            None => out.write_all(b"-"),
        }),
        Name::Comm => Column::left("COMM", |row: &SocketRow<'r>, out| match row.comm {
            Some(comm) => out.write_all(sanitised(comm).as_bytes()),
            None => out.write_all(nobody(row.ownership).as_bytes()),
        })
        .shrinking_to(8),
        Name::Cmd => whose("CMD", name, processes),
        Name::Exe => whose("EXE", name, processes),
        Name::User => whose("USER", name, processes),
        Name::Unit => whose("UNIT", name, processes),
        Name::Container => whose("CONTAINER", name, processes),
        Name::Pod => whose("POD", name, processes),
        Name::Fd => Column::right("FD", fd),
        Name::Local => {
            Column::left("LOCAL", |row: &SocketRow<'r>, out| row.local.write(out)).shrinking_to(15)
        }
        Name::Remote => Column::left("REMOTE", |row: &SocketRow<'r>, out| row.remote.write(out))
            .shrinking_to(15),
        Name::Peer => Column::left("PEER", |row: &SocketRow<'r>, out| match row.peer_pid {
            Some(pid) => write!(out, "{}[{pid}]", row.peer_comm.map_or("?".into(), sanitised)),
            None => out.write_all(b"-"),
        })
        .shrinking_to(8),
        Name::State => Column::left("STATE", |row: &SocketRow<'r>, out| {
            out.write_all(row.state.name().as_bytes())
        }),
        Name::Class => Column::left("CLASS", |row: &SocketRow<'r>, out| {
            out.write_all(row.class.name().as_bytes())
        }),
        Name::Verdict => Column::left("VERDICT", verdict).shrinking_to(10),
        Name::Unread => Column::right("UNREAD", |row: &SocketRow<'r>, out| {
            known(row.unread_bytes.map(|bytes| Bytes(bytes.into())), out)
        }),
        Name::Received => Column::right("RECEIVED", |row: &SocketRow<'r>, out| {
            known(row.bytes_received.map(Bytes), out)
        }),
        Name::Sent => {
            Column::right("SENT", |row: &SocketRow<'r>, out| known(row.bytes_acked.map(Bytes), out))
        }
        Name::Netns => Column::left("NETNS", |row: &SocketRow<'r>, out| {
            out.write_all(Digits::of(row.netns).as_bytes())
        }),
        Name::Cookie => Column::right("COOKIE", |row: &SocketRow<'r>, out| known(row.cookie, out)),
        Name::Used => Column::right("USED", |row: &SocketRow<'r>, out| {
            known(processes.get(row).and_then(|process| process.open_fds), out)
        }),
        Name::Limit => Column::right("LIMIT", |row: &SocketRow<'r>, out| {
            known(processes.get(row).and_then(|process| process.fd_limit), out)
        }),
        Name::Direction => Column::left("DIRECTION", |row: &SocketRow<'r>, out| {
            out.write_all(row.direction.map_or("-", |direction| direction.name()).as_bytes())
        }),
    }
}

fn whose<'a, 'r>(
    title: &'static str,
    name: Name,
    processes: &'a Processes<'a>,
) -> Column<'a, SocketRow<'r>> {
    let cell = move |row: &SocketRow<'r>, out: &mut Vec<u8>| known(processes.whose(name, row), out);
    Column::left(title, cell).shrinking_to(8)
}

/// When a socket came into its state, or at the latest.
pub(in crate::view) fn since(row: &SocketRow<'_>, now: SystemTime) -> SystemTime {
    now.checked_sub(Duration::from_nanos(row.age)).unwrap_or(now)
}

fn known(value: Option<impl Display>, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_all(b"-"),
    }
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
        write!(out, " {}", Bytes(bytes.into()))?;
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
