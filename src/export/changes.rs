//! The exporter's log: a line when a process begins to leak, and one when that ends.

use std::collections::HashMap;
use std::time::Duration;

use crate::report::trend::Named;
use crate::report::{ProcessRow, Report};
use crate::sock::event::Pid;
use crate::sock::name::sanitised;

/// More processes than these begin or end in one report: a last line counts them.
const MOST_LINES: usize = 20;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line itself.
    pub message: String,
    /// The process that it is about, if it is about one.
    pub pid: Option<Pid>,
    /// The unit of that process, if it has one.
    pub unit: Option<String>,
    /// True for an end.
    pub is_end: bool,
}

/// Processes that leaked in the last report.
#[derive(Debug, Default)]
pub struct Changes {
    leaking: HashMap<Named, Leaking>,
}

#[derive(Debug)]
struct Leaking {
    /// Its name, its number, and its place on the host.
    name: String,
    unit: Option<String>,
    /// When that was first reported.
    since: u64,
}

impl Changes {
    /// Lines on what is new in this report, which was made at `ktime`.
    pub fn update(&mut self, report: &Report<'_>, ktime: u64) -> Vec<Line> {
        let named = |process: &ProcessRow<'_>| (process.pid, process.start_time);
        let mut lines = Vec::new();
        // An incomplete report may lack a process that leaks as before.
        if report.complete {
            let present: Vec<_> = report.processes.iter().map(named).collect();
            let present: rustc_hash::FxHashSet<_> = present.into_iter().collect();
            let ended = self.leaking.extract_if(|process, _| !present.contains(process));
            let mut ended: Vec<_> = ended.collect();
            ended.sort_unstable_by_key(|(process, _)| *process);
            lines.extend(ended.into_iter().map(|((pid, _), was)| was.end(pid, ktime)));
        }
        for process in &report.processes {
            self.leaking.entry(named(process)).or_insert_with(|| {
                let leaking = Leaking::new(process, ktime);
                lines.push(leaking.begin(process));
                leaking
            });
        }
        let omitted = lines.len().saturating_sub(MOST_LINES);
        if omitted > 0 {
            lines.truncate(MOST_LINES);
            let message = format!("{omitted} more processes began or ceased to leak");
            lines.push(Line { message, pid: None, unit: None, is_end: false });
        }
        lines
    }
}

impl Leaking {
    fn new(process: &ProcessRow<'_>, ktime: u64) -> Self {
        let comm = sanitised(process.comm.unwrap_or("(unknown)"));
        let place = process.identity.place();
        let place = place.map(|place| format!(" ({})", sanitised(&place))).unwrap_or_default();
        let name = format!("{comm}[{}]{place}", process.pid);
        Self { name, unit: process.identity.unit.clone(), since: ktime }
    }

    fn begin(&self, process: &ProcessRow<'_>) -> Line {
        let sockets =
            if process.rows == 1 { "1 socket" } else { &format!("{} sockets", process.rows) };
        let open = process.open_fds.zip(process.fd_limit);
        let of = open.map(|(open, limit)| format!(", {open} of {limit} descriptors open"));
        self.line(process.pid, format!("leaks {sockets}{}", of.unwrap_or_default()), false)
    }

    fn end(&self, pid: Pid, ktime: u64) -> Line {
        let lasted = Duration::from_secs(ktime.saturating_sub(self.since) / 1_000_000_000);
        let lasted = humantime::format_duration(lasted);
        self.line(pid, format!("leaks no more, after {lasted}"), true)
    }

    fn line(&self, pid: Pid, what: String, is_end: bool) -> Line {
        let message = format!("{} {what}", self.name);
        Line { message, pid: Some(pid), unit: self.unit.clone(), is_end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::health::{Health, Incomplete};
    use crate::report::tests::{held, now, process, query, sock, table};
    use crate::sock::event::Record;

    const SECOND: u64 = 1_000_000_000;

    fn lines(
        changes: &mut Changes,
        scan: Vec<Record>,
        is_complete: bool,
        ktime: u64,
    ) -> Vec<String> {
        let table = table(&[], scan);
        let incomplete = if is_complete { vec![] } else { vec![Incomplete::WalkTruncated] };
        let health = Health { incomplete, ..Health::default() };
        let report = Report::build(&table, &query(), None, now(), health);
        changes.update(&report, ktime).into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn a_line_when_it_begins_and_one_when_it_ends() {
        let mut changes = Changes::default();
        let leak = || vec![process(7, "shop"), held(7, 4, &sock(1, 60)), held(7, 5, &sock(2, 60))];
        assert_eq!(
            lines(&mut changes, leak(), true, SECOND),
            ["shop[7] leaks 2 sockets, 9 of 1024 descriptors open"]
        );
        assert!(lines(&mut changes, leak(), true, 2 * SECOND).is_empty());
        assert!(lines(&mut changes, vec![], false, 3 * SECOND).is_empty(), "it may leak still");
        assert!(lines(&mut changes, leak(), true, 4 * SECOND).is_empty());
        assert_eq!(
            lines(&mut changes, vec![], true, 63 * SECOND),
            ["shop[7] leaks no more, after 1m 2s"]
        );
        assert!(lines(&mut changes, vec![], true, 64 * SECOND).is_empty());
    }

    #[test]
    fn a_flood_is_counted() {
        let scan = (1..=30)
            .flat_map(|pid| [process(pid, "a\nb"), held(pid, 4, &sock(u64::from(pid), 60))]);
        let lines = lines(&mut Changes::default(), scan.collect(), true, 0);
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!(lines[MOST_LINES], "10 more processes began or ceased to leak");
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
    }
}
