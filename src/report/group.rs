//! Sockets counted by what they have in common.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use serde::Serialize;

use super::Report;
use super::row::{Ownership, SocketRow};
use super::serial::{optional_seconds, rfc3339, seconds};
use crate::host::identity::Identity;
use crate::live::health::Incomplete;
use crate::sock::conn::SockPtr;
use crate::sock::leak::Verdict;
use crate::sock::name;

/// Keys by which sockets are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The holder.
    Process,
    /// Our end: the address and port that the clients of a service connect to.
    Listener,
    /// The peer's address.
    Remote,
    /// The kind of bug.
    Verdict,
    /// The TCP state.
    State,
    /// The holder's systemd unit.
    Unit,
    /// The holder's container.
    Container,
    /// The holder's Kubernetes pod.
    Pod,
    /// The holder's executable.
    Exe,
    /// The holder's effective user.
    User,
}

/// A report of counts.
#[derive(Clone, Debug, Serialize)]
pub struct Grouped {
    /// As in [`Report`].
    pub schema: u32,
    /// When: UTC, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// True if nothing can be missing or wrong.
    pub complete: bool,
    /// If something can be: why.
    pub incomplete: Vec<Incomplete>,
    /// How many records the kernel could not hand over, since the start.
    pub lost_events: u64,
    /// How old the last scan is (ns, printed in seconds), if there was one.
    #[serde(rename = "scanned_seconds_ago", serialize_with = "optional_seconds")]
    pub scanned_ago: Option<u64>,
    /// The largest group first.
    pub groups: Vec<Group>,
    /// How many sockets are stranded, by verdict.
    pub stranded: BTreeMap<Verdict, usize>,
}

/// Sockets with something in common.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The value that they have in common.
    #[serde(serialize_with = "name::serialize")]
    pub key: String,
    /// How many they are.
    pub count: usize,
    /// The age of the oldest (of what is not over: for how long it has been idle).
    #[serde(rename = "oldest_age_seconds", serialize_with = "seconds")]
    pub oldest_age: u64,
    /// How many there are of each verdict; `unknown` where there is none.
    pub verdicts: BTreeMap<&'static str, usize>,
}

impl Grouped {
    /// Counts the sockets of a report: each once in a group, however many processes hold it.
    pub fn build(report: &Report<'_>, by: GroupBy) -> Self {
        let mut groups: BTreeMap<String, (Group, HashSet<SockPtr>)> = BTreeMap::new();
        let identities = report.identities();
        for row in &report.sockets {
            let identity = row.pid.and_then(|pid| identities.get(&pid).copied());
            let key = key(&row, by, identity);
            let (group, socks) = groups.entry(key.clone()).or_insert_with(|| {
                let verdicts = BTreeMap::new();
                (Group { key, count: 0, oldest_age: 0, verdicts }, HashSet::new())
            });
            if !socks.insert(row.sock) {
                continue;
            }
            group.count += 1;
            group.oldest_age = group.oldest_age.max(row.lasting());
            *group.verdicts.entry(row.verdict_name()).or_default() += 1;
        }
        let mut groups: Vec<_> = groups.into_values().map(|(group, _)| group).collect();
        groups.sort_by_key(|group| Reverse((group.count, group.oldest_age)));
        Self {
            schema: report.schema,
            time: report.time,
            complete: report.complete,
            incomplete: report.incomplete.clone(),
            lost_events: report.lost_events,
            scanned_ago: report.scanned_ago,
            groups,
            stranded: report.stranded.clone(),
        }
    }
}

fn key(row: &SocketRow<'_>, by: GroupBy, identity: Option<&Identity>) -> String {
    let nobody = || match row.ownership {
        Ownership::Kernel => "kernel".to_owned(),
        _ => "unknown".to_owned(),
    };
    // A holder that is in none is told apart from one of which nothing is known.
    let named = |of: fn(&Identity) -> Option<String>, none: &str| match identity {
        None => nobody(),
        Some(identity) => match of(identity) {
            Some(key) => key,
            None if identity.known.cgroup => none.to_owned(),
            None => "unknown".to_owned(),
        },
    };
    match by {
        GroupBy::Process => match (row.pid, row.comm) {
            (Some(pid), Some(comm)) => format!("{comm}[{pid}]"),
            (Some(pid), None) => format!("[{pid}]"),
            (None, _) => nobody(),
        },
        GroupBy::Unit => named(|of| of.unit.clone(), "no unit"),
        GroupBy::Container => named(Identity::container_name, "no container"),
        GroupBy::Pod => named(Identity::pod_name, "no pod"),
        GroupBy::Exe => named(|of| of.exe.clone(), "unknown"),
        GroupBy::User => match (identity.and_then(|of| of.user.clone()), row.uid) {
            (Some(user), _) => user,
            (None, Some(uid)) => uid.to_string(),
            (None, None) => nobody(),
        },
        GroupBy::Listener => row.local.to_string(),
        GroupBy::Remote => row.remote.addr().to_string(),
        GroupBy::Verdict => row.verdict_name().to_owned(),
        GroupBy::State => row.state.name().to_owned(),
    }
}
