//! The one input of every view: what the table says at a moment, filtered, judged and sorted.
//!
//! It uses `sock`, `live` and `host`; `view` and `command` use it.

mod counts;
pub mod filter;
pub mod group;
mod processes;
pub mod row;
mod sockets;
pub mod trend;

use std::collections::BTreeMap;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use self::filter::Filter;
pub use self::processes::{Descriptors, ListenerRow, ProcessRow};
pub use self::sockets::{Kinds, Rows, Sockets};
use self::trend::Trend;
use crate::host::clock::Moment;
use crate::live::health::{Health, Incomplete};
use crate::live::table::Table;
use crate::sock::conn::Conn;
use crate::sock::leak::Verdict;
use crate::sock::state::StateSet;

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
    /// How many sockets are stranded, by verdict: rows or not.
    pub stranded: BTreeMap<Verdict, usize>,
    /// How many leaked sockets may be older than the least age that was asked for, and are no rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub undated: usize,
    /// The processes that hold most of these, if they are no rows: names for a footer.
    #[serde(skip)]
    pub stranded_in: Vec<(u32, Option<&'a str>)>,
    /// Which rows these are.
    #[serde(skip)]
    pub shown: Shown,
}

/// Which sockets are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The leaked ones.
    #[default]
    Leaked,
    /// The stranded ones, too.
    Stranded,
    /// All in these states, leaked or not.
    States(StateSet),
}

impl Shown {
    /// The word for rows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Stranded => "leaked or stranded",
            Self::States(_) => "listed",
        }
    }
}

/// A question that a report answers.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which sockets count.
    pub filter: Filter,
    /// Which of them are rows.
    pub shown: Shown,
    /// The order of rows.
    pub sort: SortKey,
    /// A connection is idle when nothing has moved for so many ns.
    pub idle: u64,
    /// How many ns two looks are apart.
    pub settle: u64,
    /// True to name the holders of the other ends.
    pub peer: bool,
}

/// Keys by which rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortKey {
    /// The oldest first.
    #[default]
    Age,
    /// By the holder's PID.
    Pid,
    /// By the holder's name.
    Comm,
    /// By our end.
    Local,
    /// By the peer's end.
    Remote,
    /// By the state.
    State,
    /// By the verdict.
    Verdict,
    /// The most unread bytes first.
    Unread,
}

/// An index of a table by connection, where peers are asked for; it has to outlive the report.
pub type Peers = FxHashMap<Conn, u32>;

impl Query {
    /// Where in the table each connection is, if the query needs that.
    pub fn peers(&self, table: &Table) -> Option<Peers> {
        self.peer.then(|| sockets::by_conn(table))
    }
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
        Self {
            schema: SCHEMA,
            time: now.time,
            complete: incomplete.is_empty(),
            incomplete,
            lost_events: health.lost_events,
            scanned_ago: (health.scanned != 0).then(|| now.ktime.saturating_sub(health.scanned)),
            processes: processes::rows(table, &counts),
            listeners: processes::listeners(table, &counts),
            stranded_in: processes::stranded_in(table, &counts),
            stranded: counts.stranded,
            undated: counts.undated,
            sockets,
            shown: query.shown,
        }
    }

    /// Where nothing is leaked but what may be too young: says that one look cannot tell.
    pub fn doubt_ages(&mut self) {
        if self.sockets.is_empty() && self.undated > 0 {
            self.complete = false;
            self.incomplete.push(Incomplete::AgeUnknown(self.undated));
        }
    }

    /// Adds how fast each process leaks, which one report alone cannot know.
    pub fn add_trend(&mut self, trend: &mut Trend, ktime: u64) {
        let named = |process: &ProcessRow<'_>| (process.pid, process.start_time);
        let leaked = self.processes.iter().map(|process| (named(process), process.leaked));
        trend.sample(ktime, leaked);
        for process in self.processes.iter_mut().filter(|process| !process.at_least) {
            let Some(growth) = trend.of(named(process)) else {
                continue;
            };
            let free = process
                .fd_limit
                .zip(process.open_fds)
                .map(|(limit, open)| limit.saturating_sub(u64::from(open)));
            process.leaked_per_minute = Some(growth.per_minute);
            process.exhausted_in_seconds = free.and_then(|free| growth.seconds_until(free));
        }
    }
}

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// ns as seconds, to the millisecond.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn seconds<S: Serializer>(ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((ns / 1_000_000) as f64 / 1_000.0)
}

fn optional_seconds<S: Serializer>(ns: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ns {
        Some(ns) => seconds(ns, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
