//! Processes that share their labels, and what they leak together. Their number is bounded: programs
//! that name each of their processes anew may have thousands of names.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::host::identity::Identity;
use crate::report::row::Ownership;
use crate::report::{ProcessRow, QueueRow, Report};
use crate::sock::conn::SockPtr;
use crate::sock::event::Pid;
use crate::sock::leak::Class;
use crate::sock::name::sanitised;

/// Labels of a process: they stay the same when it is started anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    comm: String,
    unit: String,
    namespace: String,
    pod: String,
    container: String,
    container_id: String,
}

impl Id {
    fn named(comm: &str) -> Self {
        Self { comm: sanitised(comm).into_owned(), ..Self::default() }
    }

    /// All processes that are not among the worst.
    fn other() -> Self {
        Self::named("(other)")
    }

    /// The holder of a socket that is not in the hands of a process that is known.
    fn of_nobody(ownership: Ownership) -> Self {
        Self::named(if ownership == Ownership::Kernel { "(kernel)" } else { "(unknown)" })
    }

    fn of_process(process: &ProcessRow<'_>) -> Self {
        Self::of(process.comm, process.identity)
    }

    fn of_queue(queue: &QueueRow<'_>) -> Self {
        Self::of(queue.process.map(|process| process.comm), queue.identity)
    }

    fn of(comm: Option<&str>, identity: &Identity) -> Self {
        let label = |value: &Option<String>| {
            value.as_deref().map(sanitised).unwrap_or_default().into_owned()
        };
        Self {
            unit: label(&identity.unit),
            namespace: label(&identity.namespace),
            pod: label(&identity.pod),
            container: label(&identity.container),
            container_id: label(&identity.container_id),
            ..Self::named(comm.unwrap_or("(unknown)"))
        }
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("comm", &self.comm),
            ("unit", &self.unit),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("container", &self.container),
            ("container_id", &self.container_id),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.as_str()))
    }
}

/// Processes with the same labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) id: Id,
    /// Distinct leaked sockets by verdict.
    pub(super) leaked: BTreeMap<&'static str, usize>,
    /// The age of the oldest leak in seconds.
    pub(super) oldest: Option<f64>,
    /// The part of its descriptors that the worst process has open.
    pub(super) fd_usage: Option<f64>,
    /// Seconds until the first process is out of descriptors.
    pub(super) exhausted_in: Option<f64>,
}

impl Group {
    fn add_process(&mut self, process: &ProcessRow<'_>) {
        let limit = process.fd_limit.filter(|&limit| limit > 0);
        let usage = process.open_fds.zip(limit).map(|(open, limit)| f64::from(open) / limit as f64);
        self.fd_usage = either(self.fd_usage, usage, f64::max);
        self.exhausted_in = either(self.exhausted_in, process.exhausted_in_seconds, f64::min);
    }

    fn add_leak(&mut self, leak: &Leak) {
        *self.leaked.entry(leak.verdict).or_default() += 1;
        let age = (leak.age / 1_000_000) as f64 / 1_000.0;
        self.oldest = either(self.oldest, Some(age), f64::max);
    }
}

fn either(a: Option<f64>, b: Option<f64>, best: fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(best(a, b)),
        (a, b) => a.or(b),
    }
}

/// A leaked socket in the hands of a group.
#[derive(Clone, Copy, Debug)]
struct Leak {
    sock: SockPtr,
    group: usize,
    verdict: &'static str,
    /// In ns.
    age: u64,
}

/// A socket that processes of one group share counts once there.
fn distinct(leaks: &mut Vec<Leak>) {
    leaks.sort_unstable_by_key(|leak| (leak.sock, leak.group));
    leaks.dedup_by_key(|leak| (leak.sock, leak.group));
}

/// The `top` groups that leak most, after all others together: these have the first place, because a
/// limit on series cuts the end.
pub(super) fn groups(report: &Report<'_>, top: usize) -> Vec<Group> {
    let mut indices: FxHashMap<Id, usize> = FxHashMap::default();
    let mut index_of = |id: Id| {
        let next = indices.len();
        *indices.entry(id).or_insert(next)
    };
    let by_pid: FxHashMap<Pid, usize> = report
        .processes
        .iter()
        .map(|process| (process.pid, index_of(Id::of_process(process))))
        .collect();
    let leaked = report.sockets.iter().filter(|row| row.class == Class::Leaked);
    let mut leaks: Vec<_> = leaked
        .map(|row| {
            let group = row.pid.and_then(|pid| by_pid.get(&pid)).copied();
            Leak {
                sock: row.sock,
                group: group.unwrap_or_else(|| index_of(Id::of_nobody(row.ownership))),
                verdict: row.verdict_name(),
                age: row.lasting(),
            }
        })
        .collect();
    let mut ids = vec![Id::default(); indices.len()];
    for (id, index) in indices {
        ids[index] = id;
    }
    distinct(&mut leaks);
    let mut sizes = vec![0; ids.len()];
    leaks.iter().for_each(|leak| sizes[leak.group] += 1);
    let places = places(&ids, &sizes, top);
    let mut groups = vec![Group::default(); places.iter().max().map_or(1, |last| last + 1)];
    for (id, &place) in ids.into_iter().zip(&places) {
        groups[place].id = if place == 0 { Id::other() } else { id };
    }
    // Sockets that several of the others share count once in all of them, too.
    leaks.iter_mut().for_each(|leak| leak.group = places[leak.group]);
    distinct(&mut leaks);
    leaks.iter().for_each(|leak| groups[leak.group].add_leak(leak));
    for process in &report.processes {
        groups[places[by_pid[&process.pid]]].add_process(process);
    }
    if !places.contains(&0) {
        groups.remove(0);
    }
    groups
}

/// The place of each group: from 1 on for the `top` that leak most, 0 for all others. A program that
/// calls itself "(other)" is one of them.
fn places(ids: &[Id], sizes: &[usize], top: usize) -> Vec<usize> {
    let mut ranked: Vec<_> = (0..ids.len()).filter(|&at| ids[at] != Id::other()).collect();
    ranked.sort_by_key(|&at| (Reverse(sizes[at]), &ids[at]));
    let mut places = vec![0; ids.len()];
    for (place, &at) in (1..).zip(ranked.iter().take(top)) {
        places[at] = place;
    }
    places
}

/// The accept queue of listeners with the same labels: that of the fullest.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) id: Id,
    pub(super) port: u16,
    pub(super) length: u32,
    pub(super) limit: u32,
}

impl Listener {
    /// The fuller first. A limit of 0 lets one connection wait.
    fn by_fill(&self, other: &Self) -> Ordering {
        let fill = |a: &Self, b: &Self| u64::from(a.length) * u64::from(b.limit.max(1));
        fill(other, self).cmp(&fill(self, other)).then(other.length.cmp(&self.length))
    }
}

/// The listeners whose accept queues are fullest.
pub(super) fn fullest(report: &Report<'_>, most: usize) -> Vec<Listener> {
    let mut listeners: BTreeMap<(Id, u16), Listener> = BTreeMap::new();
    for queue in &report.queues {
        let (id, port) = (Id::of_queue(queue), queue.local.port);
        let listener = Listener { id, port, length: queue.backlog, limit: queue.max_backlog };
        listeners
            .entry((listener.id.clone(), port))
            .and_modify(|known| {
                if listener.by_fill(known) == Ordering::Less {
                    *known = listener.clone();
                }
            })
            .or_insert(listener);
    }
    let mut listeners: Vec<_> = listeners.into_values().collect();
    listeners.sort_by(Listener::by_fill);
    listeners.truncate(most);
    listeners
}
