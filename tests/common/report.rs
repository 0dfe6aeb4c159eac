//! The tool's JSON as values, and the rows that a test wants to see.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use super::leaker::{Conn, Leaker};

/// One report of `list` or `watch`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) time: String,
    pub(crate) complete: bool,
    #[serde(default)]
    pub(crate) incomplete: Vec<Reason>,
    pub(crate) lost_events: u64,
    #[serde(default)]
    pub(crate) sockets: Vec<Row>,
    #[serde(default)]
    pub(crate) processes: Vec<Process>,
    #[serde(default)]
    pub(crate) listeners: Vec<Queue>,
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
    /// Sockets of the class `stranded` by verdict, shown or not
    #[serde(default)]
    pub(crate) stranded: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn parse(line: &[u8]) -> Self {
        serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(line)))
    }

    /// Why it is incomplete, in the words of the closed set.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        self.incomplete.iter().map(|incomplete| &*incomplete.reason).collect()
    }

    pub(crate) fn made_at(&self) -> SystemTime {
        humantime::parse_rfc3339(&self.time).unwrap()
    }

    pub(crate) fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// The only row; panics when there is another number of them.
    pub(crate) fn only_row(&self) -> &Row {
        let [row] = &self.sockets[..] else { panic!("not one row: {:#?}", self.sockets) };
        row
    }

    /// The only row of a connection's end; panics when there is another number of them.
    #[track_caller]
    pub(crate) fn row(&self, conn: &Conn) -> &Row {
        let rows = self.rows(conn);
        let [row] = rows[..] else { panic!("not one row of {conn:?}: {:#?}", self.sockets) };
        row
    }

    /// The rows of a connection's end.
    pub(crate) fn rows(&self, conn: &Conn) -> Vec<&Row> {
        let is_it = |row: &&Row| row.local == conn.local && row.remote == conn.remote;
        self.sockets.iter().filter(is_it).collect()
    }

    /// Class and verdict of a connection's end, where it has one row.
    pub(crate) fn kind(&self, conn: &Conn) -> Option<(&str, &str)> {
        let rows = self.rows(conn);
        let [row] = rows[..] else { return None };
        Some(row.kind())
    }

    pub(crate) fn stranded(&self, verdict: &str) -> u64 {
        self.stranded.get(verdict).copied().unwrap_or(0)
    }

    pub(crate) fn all_ages_are(&self, word: &str) -> bool {
        self.sockets.iter().all(|row| row.age_is == word)
    }
}

/// Why an answer may be incomplete.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) text: String,
}

/// One leaked socket in the hands of one process.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) sock: String,
    pub(crate) cookie: Option<u64>,
    pub(crate) netns: u64,
    pub(crate) family: String,
    pub(crate) direction: Option<String>,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) class: String,
    pub(crate) verdict: Option<String>,
    pub(crate) unread_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) maybe_farewell: bool,
    pub(crate) bytes_received: Option<u64>,
    pub(crate) bytes_acked: Option<u64>,
    pub(crate) age_seconds: Option<f64>,
    pub(crate) age_is: String,
    pub(crate) age_at_most_seconds: Option<f64>,
    pub(crate) idle_seconds: Option<f64>,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) fds: Vec<i32>,
    pub(crate) ownership: String,
    pub(crate) relay: Option<Relay>,
    pub(crate) inherited: Option<Value>,
    pub(crate) holders_omitted: Option<u32>,
    pub(crate) ring_fd: Option<i32>,
    pub(crate) ring_slot: Option<u32>,
    pub(crate) peer_pid: Option<u32>,
    pub(crate) peer_comm: Option<String>,
}

impl Row {
    pub(crate) fn kind(&self) -> (&str, &str) {
        (&self.class, self.verdict.as_deref().unwrap_or_default())
    }
}

/// The other socket of a relay.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Relay {
    pub(crate) sock: String,
    pub(crate) local: String,
    pub(crate) remote: String,
}

/// One process that holds leaked sockets.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) comm: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) exe: Option<String>,
    pub(crate) cmdline: Option<Vec<String>>,
    pub(crate) started: Option<String>,
    pub(crate) ppid: Option<u32>,
    pub(crate) parent_comm: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) slice: Option<String>,
    pub(crate) runtime: Option<String>,
    pub(crate) container_id: Option<String>,
    pub(crate) pod_uid: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) leaked: u64,
    #[serde(default)]
    pub(crate) stranded: u64,
    /// How many descriptors there are of each kind
    #[serde(default)]
    pub(crate) descriptors: BTreeMap<String, Option<u64>>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) fd_limit: Option<u64>,
    pub(crate) leaked_per_minute: Option<f64>,
    pub(crate) exhausted_in_seconds: Option<f64>,
}

/// One listener with connections that nobody accepted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Queue {
    pub(crate) netns: u64,
    pub(crate) local: String,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) fds: Vec<i32>,
    pub(crate) backlog: u64,
    pub(crate) max_backlog: u64,
    pub(crate) never_accepted: u64,
    /// Every process that holds it
    #[serde(default)]
    pub(crate) holders: Vec<Value>,
}

/// One line of `--group-by`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) key: Value,
    pub(crate) count: u64,
    pub(crate) oldest_age_seconds: Option<f64>,
    pub(crate) verdicts: BTreeMap<String, u64>,
}

/// What a row has to say, apart from its ages and the kernel's own numbers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Want {
    local: String,
    remote: String,
    pid: Option<u32>,
    fds: Vec<i32>,
    netns: u64,
    family: &'static str,
    state: String,
    verdict: Option<String>,
    unread_bytes: u64,
    ownership: String,
}

impl Want {
    /// The row of a connection in CLOSE_WAIT that `leaker` holds, with its end of file read.
    pub(crate) fn held(leaker: &Leaker, conn: &Conn) -> Self {
        Self {
            local: conn.local.clone(),
            remote: conn.remote.clone(),
            pid: Some(leaker.pid),
            fds: conn.fd.into_iter().collect(),
            netns: leaker.netns,
            family: if conn.local.starts_with('[') { "ipv6" } else { "ipv4" },
            state: "CLOSE_WAIT".into(),
            verdict: Some("eof-read".into()),
            unread_bytes: 0,
            ownership: "held".into(),
        }
    }

    /// The row of a connection that waits for `leaker` to accept it from its listener `fd`.
    pub(crate) fn queued(leaker: &Leaker, conn: &Conn, fd: i32) -> Self {
        let row = Self { ownership: "listener".into(), ..Self::held(leaker, conn) };
        row.verdict("never-accepted").fds([fd])
    }

    pub(crate) fn pid(self, pid: impl Into<Option<u32>>) -> Self {
        Self { pid: pid.into(), ..self }
    }

    pub(crate) fn fds(self, fds: impl Into<Vec<i32>>) -> Self {
        Self { fds: fds.into(), ..self }
    }

    pub(crate) fn state(self, state: &str) -> Self {
        Self { state: state.into(), ..self }
    }

    pub(crate) fn verdict<'a>(self, verdict: impl Into<Option<&'a str>>) -> Self {
        Self { verdict: verdict.into().map(str::to_owned), ..self }
    }

    pub(crate) fn unread(self, bytes: u64) -> Self {
        Self { unread_bytes: bytes, ..self }
    }

    /// Nobody holds it.
    pub(crate) fn ownerless(self, ownership: &str) -> Self {
        Self { pid: None, fds: vec![], ownership: ownership.into(), ..self }
    }

    /// What a row says.
    pub(crate) fn of(row: &Row) -> Self {
        let family = match row.family.as_str() {
            "ipv4" => "ipv4",
            "ipv6" => "ipv6",
            other => panic!("no such family: {other}"),
        };
        Self {
            local: row.local.clone(),
            remote: row.remote.clone(),
            pid: row.pid,
            fds: row.fds.clone(),
            netns: row.netns,
            family,
            state: row.state.clone(),
            verdict: row.verdict.clone(),
            unread_bytes: row.unread_bytes.unwrap_or(0),
            ownership: row.ownership.clone(),
        }
    }
}

fn sorted(rows: impl IntoIterator<Item = Want>) -> Vec<Want> {
    let mut rows: Vec<Want> = rows.into_iter().collect();
    rows.sort();
    rows
}

/// Whether the report is complete and has exactly these rows.
pub(crate) fn has_rows(report: &Report, wants: &[Want]) -> bool {
    report.complete && sorted(report.sockets.iter().map(Want::of)) == sorted(wants.to_vec())
}

/// Asserts that the report is complete and has exactly these rows.
#[track_caller]
pub(crate) fn assert_rows(report: &Report, wants: impl IntoIterator<Item = Want>) {
    assert!(report.complete, "incomplete: {:?}", report.incomplete);
    let (got, wanted) = (sorted(report.sockets.iter().map(Want::of)), sorted(wants));
    if got == wanted {
        return;
    }
    let missing: Vec<_> = wanted.iter().filter(|row| got.binary_search(row).is_err()).collect();
    let extra: Vec<_> = got.iter().filter(|row| wanted.binary_search(row).is_err()).collect();
    panic!(
        "{} rows, {} wanted; {} missing, the first: {:#?}; {} not wanted, the first: {:#?}",
        got.len(),
        wanted.len(),
        missing.len(),
        missing.first(),
        extra.len(),
        extra.first(),
    );
}
