//! Processes by the service that they are of: a container or a systemd service, however many workers it
//! has.

use std::cmp::Reverse;
use std::collections::HashSet;

use rustc_hash::FxHashMap;

use super::{ProcessRow, Report};
use crate::host::identity::Identity;
use crate::sock::event::Pid;
use crate::sock::leak::Class;

/// The processes of a container or of a systemd service; of a process that is in neither, itself.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The container or the unit; `None` for a process that is in neither.
    pub name: Option<String>,
    /// Its processes with rows, the worst first. There is at least one.
    pub processes: Vec<&'a ProcessRow<'a>>,
    /// How many distinct sockets of the rows are leaked, and held by a descriptor of one of them, or in
    /// the queue of a listener of one of them.
    pub leaked: usize,
    /// How many are stranded.
    pub stranded: usize,
    /// How many distinct sockets have rows.
    pub rows: usize,
    /// The longest time that counts of all rows: ns.
    pub oldest: u64,
}

impl<'a> Service<'a> {
    /// The services of a report, those that leak most first.
    pub fn all(report: &'a Report<'a>) -> Vec<Self> {
        let mut services: Vec<Self> = Vec::new();
        let mut by_name: FxHashMap<String, usize> = FxHashMap::default();
        let mut by_pid: FxHashMap<Pid, usize> = FxHashMap::default();
        for process in &report.processes {
            let name = name(process.identity);
            let known = name.as_ref().and_then(|name| by_name.get(name).copied());
            let at = known.unwrap_or(services.len());
            if known.is_none() {
                if let Some(name) = &name {
                    by_name.insert(name.clone(), at);
                }
                let processes = Vec::new();
                services.push(Self { name, processes, leaked: 0, stranded: 0, rows: 0, oldest: 0 });
            }
            services[at].processes.push(process);
            by_pid.insert(process.pid, at);
        }
        let mut counted = HashSet::new();
        for row in &report.sockets {
            let Some(&at) = row.pid.and_then(|pid| by_pid.get(&pid)) else { continue };
            let service = &mut services[at];
            service.oldest = service.oldest.max(row.lasting());
            // A worker that was forked holds what its parent held.
            if counted.insert((at, row.sock)) {
                service.rows += 1;
                service.leaked += usize::from(row.class == Class::Leaked);
                service.stranded += usize::from(row.class == Class::Stranded);
            }
        }
        services.sort_by_key(|service| Reverse((service.leaked, service.rows)));
        services
    }
}

/// The container or the service; a session, and other scopes, are none.
fn name(identity: &Identity) -> Option<String> {
    let service = || identity.unit.clone().filter(|unit| unit.ends_with(".service"));
    identity.container_name().or_else(service)
}
