//! Processes by the service that they are of: a container or a systemd service, however many workers it
//! has.

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};

use super::row::Oldest;
use super::{ProcessRow, Report, Shown};
use crate::host::identity::Identity;
use crate::sock::event::Pid;
use crate::sock::leak::Class;

/// The processes of a container or of a systemd service; of a process that is in neither, itself.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// Its processes with rows, the worst first. There is at least one.
    pub processes: Vec<&'a ProcessRow<'a>>,
    /// How many distinct sockets have rows.
    pub rows: Rows,
    /// How long the oldest of them has lasted.
    pub oldest: Oldest,
}

/// Distinct sockets that have rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Sockets that descriptors hold, and that are leaked, or in states that were asked for;
    pub held: usize,
    /// sockets that descriptors hold, and that are stranded;
    pub stranded: usize,
    /// connections that wait in the queues of listeners.
    pub queued: usize,
}

impl Rows {
    /// The number of all.
    pub fn all(&self) -> usize {
        self.held + self.stranded + self.queued
    }
}

impl<'a> Service<'a> {
    /// The services of a report, those that leak most first.
    pub fn all(report: &'a Report<'_>) -> Vec<Self> {
        let mut services: Vec<Self> = Vec::new();
        let mut by_name: FxHashMap<String, usize> = FxHashMap::default();
        for process in &report.processes {
            let new = services.len();
            let at = name(process.identity).map_or(new, |name| *by_name.entry(name).or_insert(new));
            match services.get_mut(at) {
                Some(service) => service.processes.push(process),
                None => services.push(Self::new(process, report.shown)),
            }
        }
        if services.len() < report.processes.len() {
            count_once(&mut services, report);
        }
        services.sort_by_key(|service| Reverse((service.rows.held, service.rows.all())));
        services
    }

    /// Of a single process.
    fn new(process: &'a ProcessRow<'a>, shown: Shown) -> Self {
        let (held, stranded) = match shown {
            Shown::Leaked => (process.leaked, 0),
            Shown::Stranded => (process.leaked, process.stranded),
            Shown::States(_) => (process.rows - process.queued, 0),
        };
        let rows = Rows { held, stranded, queued: process.queued };
        Self { processes: vec![process], rows, oldest: process.oldest }
    }

    /// The process that has the least part of its descriptors left.
    pub fn fullest(&self) -> Option<&'a ProcessRow<'a>> {
        let part = |process: &&ProcessRow<'_>| {
            let (open, limit) = (process.open_fds.unwrap_or(0), process.fd_limit.unwrap_or(0));
            u64::from(open) * 1_000_000 / limit.max(1)
        };
        // Of several that are equal, the first.
        self.processes.iter().copied().rev().max_by_key(part)
    }
}

/// Counts the rows of services with several processes: a worker that was forked holds what its parent
/// held.
fn count_once(services: &mut [Service<'_>], report: &Report<'_>) {
    let mut by_pid: FxHashMap<Pid, usize> = FxHashMap::default();
    for (at, service) in services.iter_mut().enumerate() {
        if service.processes.len() > 1 {
            service.rows = Rows::default();
            let oldest = service.processes.iter().map(|process| process.oldest).max();
            service.oldest = oldest.unwrap_or_default();
            by_pid.extend(service.processes.iter().map(|process| (process.pid, at)));
        }
    }
    let mut counted = FxHashSet::default();
    for row in report.sockets.brief() {
        let Some(&at) = row.pid.and_then(|pid| by_pid.get(&pid)) else { continue };
        if !counted.insert((at, row.index)) {
            continue;
        }
        let rows = &mut services[at].rows;
        match row.class {
            _ if row.is_queued => rows.queued += 1,
            Class::Stranded if report.shown == Shown::Stranded => rows.stranded += 1,
            _ => rows.held += 1,
        }
    }
}

/// The container or the service; a session, and other scopes, are none. Users may have services of the same
/// name.
fn name(identity: &Identity) -> Option<String> {
    let service = || {
        let unit = identity.unit.as_ref().filter(|unit| unit.ends_with(".service"))?;
        Some(format!("{}/{unit}", identity.manager.as_deref().unwrap_or_default()))
    };
    identity.container_name().or_else(service)
}
