//! What was measured: the one input of every view.

use serde::Serialize;

use crate::goals::{self, Goal};
use crate::host::Host;
use crate::summary::Summary;
use crate::truth::Verdict;

/// Everything, as `target/bench.json` has it. Parts that were not asked for are empty.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) host: Host,
    pub(crate) goals: Vec<Goal>,
    pub(crate) list: Vec<ListRow>,
    pub(crate) churn: Vec<ChurnRow>,
    pub(crate) standing: Vec<StandingRow>,
    pub(crate) load: Vec<LoadRow>,
    pub(crate) start: Vec<StartRow>,
    pub(crate) table: Vec<TableRow>,
}

/// A tool that lists what is leaked, once.
#[derive(Debug, Serialize)]
pub(crate) struct ListRow {
    pub(crate) sockets: usize,
    pub(crate) processes: usize,
    pub(crate) tool: String,
    /// Why it did not run: its own words.
    pub(crate) refused: Option<String>,
    pub(crate) wall_ms: Option<Summary>,
    /// User and kernel.
    pub(crate) cpu_ms: Option<Summary>,
    pub(crate) peak_kib: Option<i64>,
    /// `None` of a tool that lists nothing.
    pub(crate) verdict: Option<Verdict>,
    /// Its time divided by that of `sockleak list`.
    pub(crate) times_sockleak: Option<f64>,
}

/// A tool that follows transitions while connections come and go at full speed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChurnRow {
    pub(crate) tool: String,
    /// Why it did not run: its own words.
    pub(crate) refused: Option<String>,
    pub(crate) connections_per_second: Option<Summary>,
    /// Against the windows before and after, in which no tool ran.
    pub(crate) throughput_lost_percent: Option<Summary>,
    /// CPU time of everything, the tool included, for each connection: how much more it was.
    pub(crate) cpu_added_percent: Option<Summary>,
    /// The tool's own, of one core, on average.
    pub(crate) tool_cpu_percent: Option<f64>,
    /// Of all the tool's programs together.
    pub(crate) ns_per_transition: Option<Summary>,
    /// Less what as many programs that do nothing take.
    pub(crate) net_ns_per_transition: Option<f64>,
    pub(crate) events_lost: Option<u64>,
}

/// A tool that refreshes every second, beside churn and standing leaks.
#[derive(Debug, Serialize)]
pub(crate) struct StandingRow {
    pub(crate) tool: String,
    /// Why it did not run: its own words.
    pub(crate) refused: Option<String>,
    pub(crate) seconds: f64,
    /// Of one core, start included.
    pub(crate) cpu_percent: f64,
    pub(crate) peak_kib: i64,
    pub(crate) connections_per_second: f64,
    /// While the churn went on.
    pub(crate) verdict: Verdict,
    /// After it had ended, where the tool was still running then.
    pub(crate) verdict_after: Option<Verdict>,
    pub(crate) events_lost: Option<u64>,
}

/// `sockleak watch`, with nothing else going on.
#[derive(Debug, Serialize)]
pub(crate) struct LoadRow {
    pub(crate) leaked: usize,
    pub(crate) command: String,
    /// Of one core, start not included.
    pub(crate) cpu_percent: f64,
    /// How long one refresh takes, if it tells when it began, as JSON does; or else its CPU time,
    /// which is more: there are several threads.
    pub(crate) refresh_ms: Option<Summary>,
    pub(crate) resident_kib: u64,
}

/// From exec to the first line.
#[derive(Debug, Serialize)]
pub(crate) struct StartRow {
    pub(crate) what: String,
    pub(crate) ms: Summary,
}

/// The table alone, with synthetic events.
#[derive(Debug, Serialize)]
pub(crate) struct TableRow {
    pub(crate) what: String,
    pub(crate) sockets: u64,
    pub(crate) per_socket: f64,
    pub(crate) unit: &'static str,
}

impl Results {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            goals: Vec::new(),
            list: Vec::new(),
            churn: Vec::new(),
            standing: Vec::new(),
            load: Vec::new(),
            start: Vec::new(),
            table: Vec::new(),
        }
    }

    /// Everything is measured: compares it with what was to be reached.
    pub(crate) fn finish(&mut self) {
        self.goals = goals::compare(self);
    }
}
