//! Transitions, one a line.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::host::clock::{self, Moment};
use crate::report::serial::rfc3339;
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::event::{Pid, Transition};
use crate::sock::name::{self, sanitised};
use crate::sock::state::State;

/// A transition as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// When: UTC, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Where the socket is in the kernel's memory.
    pub sock: SockPtr,
    /// Its cookie, once it has one.
    pub cookie: Option<u64>,
    /// The inode of its network namespace.
    pub netns: u32,
    /// `ipv4` or `ipv6`, as the addresses print.
    pub family: &'static str,
    /// Our end.
    pub local: Endpoint,
    /// The peer's end.
    pub remote: Endpoint,
    /// From this state
    pub old_state: State,
    /// to this one.
    pub new_state: State,
    /// How long it was in the old one (ns, printed in seconds), if that was seen.
    #[serde(rename = "in_old_state_seconds", serialize_with = "fine_seconds")]
    pub in_old_state: Option<u64>,
    /// Who made the transition, where that is known for certain.
    pub pid: Option<Pid>,
    /// The name of that process.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<String>,
    /// True if it made the transition by exiting.
    pub exiting: bool,
}

impl EventRow {
    /// A transition, now; and how long the socket was in its old state.
    pub fn new(transition: Transition, in_old_state: Option<u64>, now: Moment) -> Self {
        let ago = Duration::from_nanos(now.ktime.saturating_sub(transition.ktime));
        let actor = transition.actor;
        Self {
            time: now.time.checked_sub(ago).unwrap_or(now.time),
            sock: transition.sock,
            cookie: transition.cookie.map(u64::from),
            netns: transition.conn.netns,
            family: transition.conn.family(),
            local: transition.conn.local,
            remote: transition.conn.remote,
            old_state: transition.old,
            new_state: transition.new,
            in_old_state,
            pid: actor.as_ref().and_then(|actor| actor.pid),
            exiting: actor.as_ref().is_some_and(|actor| actor.exiting),
            comm: actor.map(|actor| actor.comm),
        }
    }
}

/// ns as seconds, to the microsecond: many states last no longer.
fn fine_seconds<S: Serializer>(ns: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    ns.map(|ns| (ns / 1_000) as f64 / 1e6).serialize(serializer)
}

/// Writes the line above the columns.
///
/// # Errors
/// Where `out` does not take it.
pub fn header(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:12} {:18} {:21} {:21} {:11} {:11} {:>10} {:>7} COMM",
        "TIME", "SOCK", "LOCAL", "REMOTE", "OLD", "NEW", "IN-OLD-MS", "PID"
    )
}

/// Writes a transition for people.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(row: &EventRow, out: &mut impl Write) -> io::Result<()> {
    let time = clock::rfc3339(row.time).to_string();
    let dash = || "-".to_owned();
    writeln!(
        out,
        "{:12} {:18} {:21} {:21} {:11} {:11} {:>10} {:>7} {}{}",
        time.get(11..23).unwrap_or(&time),
        row.sock.to_string(),
        row.local.to_string(),
        row.remote.to_string(),
        row.old_state,
        row.new_state,
        row.in_old_state.map_or_else(dash, |ns| format!("{:.3}", ns as f64 / 1e6)),
        row.pid.map_or_else(dash, |pid| pid.to_string()),
        row.comm.as_deref().map_or("-".into(), sanitised),
        if row.exiting { " (exiting)" } else { "" },
    )
}
