//! Counts that are taken while the rows of a report are found.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::row::Oldest;
use crate::live::table::Tracked;
use crate::sock::conn::SockPtr;
use crate::sock::event::Pid;
use crate::sock::leak::{Class, Judgement, Verdict};
use crate::sock::state::State;

/// Counts of a report.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Counts of each process.
    pub(super) processes: FxHashMap<Pid, OfProcess>,
    /// Counts of each listener.
    pub(super) listeners: FxHashMap<SockPtr, OfListener>,
    /// The distinct sockets of each stranded verdict.
    pub(super) stranded: BTreeMap<Verdict, usize>,
    /// Rows that no program will ever refer to,
    pub(super) kernel: Nobody,
    /// and those whose holder was not found.
    pub(super) unknown: Nobody,
    /// Leaked sockets that pass all filters but those on processes, because nobody knows whose they
    /// are.
    pub(super) without_owner: usize,
    /// Leaked sockets that pass all filters but those on who their holders are, which nobody can tell.
    pub(super) without_identity: usize,
    /// Leaked sockets that are counted, and may be known leaks: nobody can tell who their holders are.
    pub(super) perhaps_known: usize,
    /// Leaked sockets that may be older than the least age that was asked for.
    pub(super) undated: usize,
}

/// Counts of a process.
#[derive(Debug, Default)]
pub(super) struct OfProcess {
    /// Rows.
    pub(super) rows: usize,
    /// How many of them wait in queues.
    pub(super) queued: usize,
    /// The oldest of them.
    pub(super) oldest: Oldest,
    /// Leaked sockets that pass the filters, and that its descriptors hold.
    pub(super) leaked: usize,
    /// Stranded ones.
    pub(super) stranded: usize,
    /// Descriptors for leaked sockets, whatever the filters,
    pub(super) leaked_fds: u32,
    /// and for stranded ones, by verdict.
    pub(super) stranded_fds: BTreeMap<Verdict, u32>,
    /// How many of all these are for sockets in CLOSE.
    pub(super) closed_fds: u32,
}

/// Counts of rows that no process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nobody {
    /// How many they are.
    pub rows: usize,
    /// The oldest of them.
    pub oldest: Oldest,
}

/// Counts of a listener's accept queue.
#[derive(Debug, Default)]
pub(super) struct OfListener {
    /// Connections whose peers have gone.
    pub(super) never_accepted: usize,
    /// Connections that wait for too long.
    pub(super) unaccepted: usize,
}

impl Counts {
    /// Counts the descriptors for a socket that is leaked or stranded.
    pub(super) fn add_descriptors(&mut self, tracked: &Tracked, (class, verdict): Judgement) {
        if class == Class::InUse {
            return;
        }
        for holder in tracked.holders.iter().filter(|holder| holder.slot.is_none()) {
            let process = self.processes.entry(holder.pid).or_default();
            process.closed_fds += u32::from(tracked.state == State::Close);
            match verdict {
                Some(verdict) if class == Class::Stranded => {
                    *process.stranded_fds.entry(verdict).or_default() += 1;
                }
                _ => process.leaked_fds += 1,
            }
        }
    }

    /// Counts a socket for a process that holds it.
    pub(super) fn add_holder(&mut self, pid: Option<Pid>, tracked: &Tracked, class: Class) {
        // A queued connection takes no descriptor.
        if let (Some(pid), None) = (pid, tracked.listener) {
            let process = self.processes.entry(pid).or_default();
            process.leaked += usize::from(class == Class::Leaked);
            process.stranded += usize::from(class == Class::Stranded);
        }
    }

    /// Counts a row.
    pub(super) fn add_row(&mut self, pid: Option<Pid>, tracked: &Tracked, of: Oldest) {
        let (rows, oldest) = match pid {
            Some(pid) => {
                let process = self.processes.entry(pid).or_default();
                process.queued += usize::from(tracked.listener.is_some());
                (&mut process.rows, &mut process.oldest)
            }
            None if tracked.ownerless() => (&mut self.kernel.rows, &mut self.kernel.oldest),
            None => (&mut self.unknown.rows, &mut self.unknown.oldest),
        };
        *rows += 1;
        *oldest = of.max(*oldest);
    }

    /// Counts a socket that is leaked or stranded, once.
    pub(super) fn add_socket(&mut self, tracked: &Tracked, (class, verdict): Judgement) {
        if let Some(listener) = tracked.listener {
            let queue = self.listeners.entry(listener).or_default();
            queue.never_accepted += usize::from(class == Class::Leaked);
            queue.unaccepted += usize::from(class == Class::Stranded);
        }
        if let (Class::Stranded, Some(verdict)) = (class, verdict) {
            *self.stranded.entry(verdict).or_default() += 1;
        }
    }
}
