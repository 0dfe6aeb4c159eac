//! The one input of every view: what the table says at a moment, filtered, judged and sorted.
//!
//! It uses `sock`, `live` and `host`; `view` and `command` use it.

pub mod column;
mod counts;
pub mod filter;
pub mod group;
mod processes;
pub mod query;
pub mod row;
pub(crate) mod serial;
pub mod service;
mod sockets;
pub mod trend;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use serde::Serialize;

pub use self::counts::Nobody;
pub use self::processes::{Descriptors, ListenerRow, ProcessRow, QueueRow};
pub use self::query::{Peers, Query, Shown, SortKey};
use self::row::Ownership;
use self::serial::{is_zero, optional_seconds, rfc3339};
pub use self::sockets::{Kinds, Rows, Sockets};
use self::trend::{Growth, Trend};
use crate::host::clock::Moment;
use crate::host::identity::{Identities, Identity};
use crate::live::health::{Health, Incomplete, Scans};
use crate::live::table::Table;
use crate::sock::event::Pid;
use crate::sock::leak::{Class, Verdict};

/// Raised when a field changes its meaning; fields are only ever added.
pub const SCHEMA: u32 = 1;

/// A report: the sockets that are leaked now, or that were asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When: UTC, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// True if nothing can be missing or wrong.
    pub complete: bool,
    /// If something can be: why.
    pub incomplete: Vec<Incomplete>,
    /// How many events the kernel could not hand over, since the start.
    pub lost_events: u64,
    /// How old the last scan is (ns, printed in seconds), if there was one.
    #[serde(rename = "scanned_seconds_ago", serialize_with = "optional_seconds")]
    pub scanned_ago: Option<u64>,
    /// A row for each socket and process that holds it; for what waits in an accept queue, one.
    pub sockets: Sockets<'a>,
    /// The processes of these rows.
    pub processes: Vec<ProcessRow<'a>>,
    /// The listeners in whose queues some of these sockets wait.
    pub listeners: Vec<ListenerRow<'a>>,
    /// Every accept queue that is not empty, and passes the filters.
    #[serde(skip)]
    pub queues: Vec<QueueRow<'a>>,
    /// How many sockets are stranded, by verdict: rows or not.
    pub stranded: BTreeMap<Verdict, usize>,
    /// How many leaked sockets may be older than the least age that was asked for, and are no rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub undated: usize,
    /// The processes that hold most of these, if they are no rows: names for a footer.
    #[serde(skip)]
    pub stranded_in: Vec<(u32, Option<&'a str>)>,
    /// Counts of rows that no program will ever refer to,
    #[serde(skip)]
    pub kernel: Nobody,
    /// and of those whose holder was not found.
    #[serde(skip)]
    pub unknown: Nobody,
    /// Which rows these are.
    #[serde(skip)]
    pub shown: Shown,
    /// How many scans there were, and what they took.
    #[serde(skip)]
    pub scans: Scans,
}

impl<'a> Report<'a> {
    /// Builds the report of the table at this moment.
    pub fn build(
        table: &'a Table,
        query: &Query,
        peers: Option<&'a Peers>,
        now: Moment,
        health: Health,
    ) -> Self {
        let (sockets, counts) = Sockets::build(table, query, peers, now.ktime);
        let mut incomplete = health.incomplete;
        incomplete.retain(|reason| reason.concerns(&query.filter.netns));
        if counts.without_owner > 0 {
            incomplete.push(Incomplete::OwnersUnknown(counts.without_owner));
        }
        let (missing, perhaps_known) = (counts.without_identity, counts.perhaps_known);
        if missing + perhaps_known > 0 {
            incomplete.push(Incomplete::OwnersUnidentified { missing, perhaps_known });
        }
        Self {
            schema: SCHEMA,
            time: now.time,
            complete: incomplete.is_empty(),
            incomplete,
            lost_events: health.lost_events,
            scanned_ago: (health.scanned != 0).then(|| now.ktime.saturating_sub(health.scanned)),
            processes: processes::rows(table, &counts),
            listeners: processes::listeners(table, &counts),
            queues: processes::queues(table, &query.filter),
            stranded_in: processes::stranded_in(table, &counts),
            kernel: counts.kernel,
            unknown: counts.unknown,
            stranded: counts.stranded,
            undated: counts.undated,
            sockets,
            shown: query.shown,
            scans: health.scans,
        }
    }

    /// Distinct leaked sockets of the rows, by verdict.
    pub fn leaked_by_verdict(&self) -> BTreeMap<&'static str, usize> {
        let leaked = self.sockets.iter().filter(|row| row.class == Class::Leaked);
        let mut socks: Vec<_> = leaked.map(|row| (row.sock, row.verdict_name())).collect();
        socks.sort_unstable();
        socks.dedup();
        let mut counts = BTreeMap::new();
        for (_, verdict) in socks {
            *counts.entry(verdict).or_default() += 1;
        }
        counts
    }

    /// Where nothing is leaked but what may be too young: says that one look cannot tell.
    pub fn doubt_ages(&mut self) {
        if self.sockets.is_empty() && self.undated > 0 {
            self.complete = false;
            self.incomplete.push(Incomplete::AgeUnknown(self.undated));
        }
    }

    /// Adds who the processes are: the worst first, and those that there is no time to read with the
    /// next report.
    pub fn add_identities(&mut self, identities: &'a mut Identities) {
        let of_queues = self.queues.iter().filter_map(|queue| queue.process);
        identities.read(self.processes.iter().filter_map(ProcessRow::named).chain(of_queues));
        let identities: &'a Identities = identities;
        for queue in &mut self.queues {
            let known = queue.process.and_then(|of| identities.get(of.pid, of.start_boottime));
            queue.identity = known.unwrap_or(queue.identity);
        }
        for process in &mut self.processes {
            if let Some(identity) = identities.get(process.pid, process.start_boottime) {
                process.identity = identity;
            }
        }
    }

    /// Who the processes of the rows are.
    pub fn identities(&self) -> FxHashMap<Pid, &'a Identity> {
        self.processes.iter().map(|process| (process.pid, process.identity)).collect()
    }

    /// Adds how fast each process has leaked, as far as the ages of what it leaks now can tell; all are
    /// at least `youngest`.
    pub fn add_history(&mut self, youngest: Duration) {
        let mut ages: FxHashMap<Pid, Vec<u64>> = FxHashMap::default();
        let held = self.sockets.iter().filter(|row| row.ownership == Ownership::Held);
        for row in held.filter(|row| row.class == Class::Leaked) {
            let Some(pid) = row.pid else { continue };
            ages.entry(pid).or_default().push(row.lasting());
        }
        let youngest = u64::try_from(youngest.as_nanos()).unwrap_or(u64::MAX);
        self.add_growth(|process| Growth::of_ages(ages.get(&process.pid)?, youngest));
    }

    /// Adds how fast each process leaks, which one report alone cannot know.
    pub fn add_trend(&mut self, trend: &mut Trend, ktime: u64) {
        let named = |process: &ProcessRow<'_>| (process.pid, process.start_time);
        let leaked = self.processes.iter().map(|process| (named(process), process.leaked));
        trend.sample(ktime, leaked);
        self.add_growth(|process| trend.of(named(process)));
    }

    fn add_growth(&mut self, of: impl Fn(&ProcessRow<'_>) -> Option<Growth>) {
        for process in self.processes.iter_mut().filter(|process| !process.at_least) {
            let Some(growth) = of(process) else { continue };
            let free = process
                .fd_limit
                .zip(process.open_fds)
                .map(|(limit, open)| limit.saturating_sub(u64::from(open)));
            process.leaked_per_minute = Some(growth.per_minute);
            process.exhausted_in_seconds = free.and_then(|free| growth.seconds_until(free));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
