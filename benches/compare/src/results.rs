//! The figures of a run: the one input of the goals and of every view.

use serde::Serialize;

use crate::host::Host;
use crate::summary::Summary;
use crate::truth::Verdict;

/// All figures, as `target/bench.json` has them. Parts that were not measured are empty.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) host: Host,
    pub(crate) goals: Vec<Goal>,
    pub(crate) small: Vec<ListRow>,
    pub(crate) phases: Vec<TimeRow>,
    pub(crate) list: Vec<ListRow>,
    pub(crate) healthy: Vec<ListRow>,
    pub(crate) churn: Vec<ChurnRow>,
    pub(crate) standing: Vec<StandingRow>,
    pub(crate) load: Vec<LoadRow>,
    pub(crate) export: Vec<ExportRow>,
    pub(crate) start: Vec<TimeRow>,
    pub(crate) table: Vec<TableRow>,
    pub(crate) against: Vec<AgainstRow>,
}

impl Results {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            goals: Vec::new(),
            small: Vec::new(),
            phases: Vec::new(),
            list: Vec::new(),
            healthy: Vec::new(),
            churn: Vec::new(),
            standing: Vec::new(),
            load: Vec::new(),
            export: Vec::new(),
            start: Vec::new(),
            table: Vec::new(),
            against: Vec::new(),
        }
    }
}

/// A figure that sockleak has to reach.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) reach: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// A tool that lists leaked sockets, once.
#[derive(Debug, Serialize)]
pub(crate) struct ListRow {
    /// Leaked sockets.
    pub(crate) sockets: usize,
    /// Processes that hold them.
    pub(crate) processes: usize,
    pub(crate) tool: String,
    /// The tool's own words, where it did not run.
    pub(crate) refused: Option<String>,
    pub(crate) wall_ms: Option<Summary>,
    /// User and kernel time together.
    pub(crate) cpu_ms: Option<Summary>,
    pub(crate) peak_kib: Option<i64>,
    /// `None` for a tool that lists nothing.
    pub(crate) verdict: Option<Verdict>,
    /// Its time divided by that of `sockleak list`.
    pub(crate) times_sockleak: Option<f64>,
}

/// A tool that follows transitions while connections come and go at full speed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChurnRow {
    pub(crate) tool: String,
    /// The tool's own words, where it did not run.
    pub(crate) refused: Option<String>,
    pub(crate) connections_per_second: Option<Summary>,
    /// Against the windows before and after, in which no tool ran.
    pub(crate) throughput_lost_percent: Option<Summary>,
    /// Growth of the CPU time for each connection: both ends and the tool together.
    pub(crate) cpu_added_percent: Option<Summary>,
    /// The tool's own CPU time, as a mean.
    pub(crate) tool_cpu_percent: Option<f64>,
    /// Time for each transition of all the tool's programs together.
    pub(crate) ns_per_transition: Option<Summary>,
    /// The same, less the time of as many empty programs.
    pub(crate) net_ns_per_transition: Option<f64>,
    pub(crate) events_lost: Option<u64>,
}

/// A tool that refreshes every second, beside churn and 10,000 leaked sockets.
#[derive(Debug, Serialize)]
pub(crate) struct StandingRow {
    pub(crate) tool: String,
    /// The tool's own words, where it did not run.
    pub(crate) refused: Option<String>,
    pub(crate) seconds: f64,
    /// Share of one core, with the start.
    pub(crate) cpu_percent: f64,
    pub(crate) peak_kib: i64,
    pub(crate) connections_per_second: f64,
    /// While the churn went on.
    pub(crate) verdict: Verdict,
    /// After the churn, where the tool was still running then.
    pub(crate) verdict_after: Option<Verdict>,
    pub(crate) events_lost: Option<u64>,
}

/// `sockleak watch`, on a host where nothing changes.
#[derive(Debug, Serialize)]
pub(crate) struct LoadRow {
    pub(crate) leaked: usize,
    pub(crate) command: String,
    /// Share of one core, without the start.
    pub(crate) cpu_percent: f64,
    /// Time of a refresh. JSON tells when a report began; for text it is the CPU time, which is
    /// longer, because several threads work.
    pub(crate) refresh_ms: Option<Summary>,
    pub(crate) resident_kib: u64,
}

/// `sockleak export`, scraped each second.
#[derive(Debug, Serialize)]
pub(crate) struct ExportRow {
    pub(crate) leaked: usize,
    /// Share of one core, without the start.
    pub(crate) cpu_percent: f64,
    pub(crate) resident_kib: u64,
    /// Series of a scrape, and its bytes.
    pub(crate) series: usize,
    pub(crate) bytes: usize,
    pub(crate) scrape_ms: Option<Summary>,
}

/// A span of time.
#[derive(Debug, Serialize)]
pub(crate) struct TimeRow {
    pub(crate) what: String,
    pub(crate) ms: Summary,
}

/// The table alone, with synthetic events; and who processes are, with real ones.
#[derive(Debug, Serialize)]
pub(crate) struct TableRow {
    pub(crate) what: String,
    pub(crate) sockets: u64,
    pub(crate) per_socket: f64,
    pub(crate) unit: &'static str,
}

/// A figure of two sockleaks.
#[derive(Debug, Serialize)]
pub(crate) struct AgainstRow {
    pub(crate) what: String,
    /// Figure of `--sockleak`.
    pub(crate) this: Option<Summary>,
    /// Figure of `--against`.
    pub(crate) other: Option<Summary>,
    /// `other / this`, round by round. `None` where a ratio means nothing.
    pub(crate) ratio: Option<Summary>,
}
