//! The report of a run, for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io::{self, Write};

use super::table::{Column, Layout, table};
use super::units::{Bytes, Span};
use crate::follow::baseline::{Entry, Kind};
use crate::follow::leak::{Ended, Leak};
use crate::follow::report::RunReport;
use crate::report::row::Direction;
use crate::sock::name::sanitised;

/// Leaks whose rows are printed; of more, the number is.
const ROWS: usize = 1_000;

/// Writes a report; nothing at all where there is nothing to say.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(report: &RunReport, out: &mut impl Write) -> io::Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    rows(&report.sockets, out)?;
    if !report.late.is_empty() {
        writeln!(out, "sockleak: closed late, and not counted (--count-late counts them):")?;
        rows(&report.late, out)?;
    }
    notes(report, out)?;
    writeln!(out, "sockleak: {}", Summary(report))
}

fn rows(leaks: &[Leak], out: &mut impl Write) -> io::Result<()> {
    if leaks.is_empty() {
        return Ok(());
    }
    let shown = &leaks[..leaks.len().min(ROWS)];
    let layout = Layout { headers: true, colour: false, width: usize::MAX };
    table(&columns(), &[shown.iter()], layout, out)?;
    if leaks.len() > shown.len() {
        writeln!(out, "and {} more", leaks.len() - shown.len())?;
    }
    let mut processes = BTreeMap::new();
    for leak in shown.iter().filter(|leak| !leak.args.is_empty()) {
        processes.entry((leak.pid, &leak.comm)).or_insert(&leak.args);
    }
    for ((pid, comm), args) in processes {
        writeln!(out, "{}[{pid}]: {}", sanitised(comm), sanitised(&args.join(" ")))?;
    }
    let verdicts = shown.iter().filter_map(|leak| Some((leak.verdict?, ())));
    for verdict in verdicts.collect::<BTreeMap<_, _>>().into_keys() {
        writeln!(out, "{verdict}: {}", verdict.summary())?;
    }
    Ok(())
}

fn columns<'a>() -> [Column<'a, &'a Leak>; 8] {
    [
        Column::right("DEAD", |leak: &&Leak, out| write!(out, "{}", Short(leak.dead_for))),
        Column::right("PID", |leak: &&Leak, out| match leak.pid {
            0 => out.write_all(b"-"),
            pid => write!(out, "{pid}"),
        }),
        Column::left("COMM", |leak: &&Leak, out| out.write_all(sanitised(&leak.comm).as_bytes())),
        Column::right("FD", |leak: &&Leak, out| match &leak.fds[..] {
            [] => out.write_all(b"-"),
            [fd] => write!(out, "{fd}"),
            several => write!(out, "{}fds", several.len()),
        }),
        Column::left("LOCAL", |leak: &&Leak, out| leak.local.write(out)),
        Column::left("REMOTE", |leak: &&Leak, out| leak.remote.write(out)),
        Column::left("VERDICT", |leak: &&Leak, out| {
            write!(out, "{}", leak.verdict.map_or("-", |verdict| verdict.name()))?;
            if leak.unread_bytes > 0 {
                write!(out, " {}", Bytes(leak.unread_bytes.into()))?;
            }
            match leak.direction {
                Some(Direction::Connected) => out.write_all(b", connected"),
                Some(Direction::Accepted) => out.write_all(b", accepted"),
                None => Ok(()),
            }
        }),
        Column::left("ENDED", |leak: &&Leak, out| write!(out, "{}", How(leak))),
    ]
}

/// How a leak ended, in words.
struct How<'a>(&'a Leak);

impl Display for How<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.ended, self.0.before_exit) {
            (Ended::AtExit, _) if self.0.by_exec => f.write_str("at exec"),
            (Ended::AtExit, _) => f.write_str("at exit"),
            (Ended::StillHeld, _) => f.write_str("still held"),
            (Ended::Late, _) => f.write_str("closed late"),
            (Ended::AtTeardown, before) => {
                write!(f, "closed {} before exit", Short(before.unwrap_or(0)))
            }
        }
    }
}

/// A length of time; below a second, in ms.
struct Short(u64);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..1_000_000_000 => write!(f, "{}ms", ns / 1_000_000),
            ns => write!(f, "{}", Span(ns)),
        }
    }
}

fn notes(report: &RunReport, out: &mut impl Write) -> io::Result<()> {
    if report.known > 0 {
        let are = if report.known == 1 { "is" } else { "are" };
        writeln!(
            out,
            "sockleak: {} {are} known, and not counted",
            Of(report.known as u64, "leak")
        )?;
    }
    for entry in &report.gone {
        writeln!(out, "sockleak: no longer leaked, and still in the baseline: {}", Known(entry))?;
    }
    if report.too_young > 0 {
        writeln!(
            out,
            "sockleak: {} died less than {} before the end, too shortly to judge (see --min-age)",
            Of(report.too_young, "socket"),
            humantime::format_duration(report.min_age)
        )?;
    }
    if !report.stranded.is_empty() {
        let counts: Vec<_> =
            report.stranded.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        writeln!(out, "sockleak: also stranded: {}: see --stranded", counts.join(", "))?;
    }
    for doubt in &report.incomplete {
        writeln!(out, "sockleak: incomplete: {doubt}")?;
    }
    Ok(())
}

/// A number, and the noun that it counts.
struct Of(u64, &'static str);

impl Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// An entry of a baseline.
struct Known<'a>(&'a Entry);

impl Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { kind: Kind { comm, verdict, direction, port, remote }, count } = self.0;
        write!(f, "{count} {} of {}", sanitised(verdict), sanitised(comm))?;
        if let Some(direction) = direction {
            write!(f, ", {}", sanitised(direction))?;
        }
        if let Some(port) = port {
            write!(f, ", port {port}")?;
        }
        match remote {
            Some(remote) => write!(f, ", {}", sanitised(remote)),
            None => Ok(()),
        }
    }
}

/// The last line: what counts, and what becomes of it.
struct Summary<'a>(&'a RunReport);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        write!(f, "{} leaked", report.leaked)?;
        let counts = report.sockets.iter().fold(BTreeMap::new(), |mut counts, leak| {
            *counts.entry(leak.ended).or_insert(0_usize) += 1;
            counts
        });
        if counts.len() > 1 {
            let each: Vec<_> =
                counts.iter().map(|(ended, count)| format!("{count} {}", ended.name())).collect();
            write!(f, " ({})", each.join(", "))?;
        }
        if report.max_leaks > 0 {
            write!(f, ", {} allowed", report.max_leaks)?;
        }
        match (report.command_exit_code, report.command_signal) {
            (Some(code), _) => write!(f, "; the command exited with {code}")?,
            (None, signal) => write!(f, "; signal {} killed the command", signal.unwrap_or(0))?,
        }
        if report.survivors > 0 {
            let live = if report.survivors == 1 { "lives" } else { "live" };
            write!(f, ", and {} of its processes {live} on", report.survivors)?;
        }
        write!(f, "; exit code {}", report.exit_code)
    }
}
