//! The gate: whether a run fails, and with which exit code.

use std::collections::HashSet;

use super::baseline::{Baseline, Entry, Ephemeral};
use super::leak::{Ended, Leak};
use crate::report::filter::Filter;
use crate::sock::leak::Class;

/// The exit code of an answer that may be incomplete.
pub const INCOMPLETE: u8 = 4;
/// The exit code where sockleak failed before the command started.
pub const FAILED: u8 = 125;
/// The exit codes of a command that is not there, or cannot be executed, as a shell has them.
pub const NOT_FOUND: u8 = 127;
/// See [`NOT_FOUND`].
pub const NOT_EXECUTABLE: u8 = 126;

/// Rules by which leaks count.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// True if stranded sockets count, too.
    pub stranded: bool,
    /// True if sockets that were closed late count, too.
    pub count_late: bool,
    /// How many leaks are allowed.
    pub max_leaks: usize,
    /// The exit code of a command that succeeded, and leaked.
    pub leak_exit_code: u8,
    /// Known leaks: as filters,
    pub not: Vec<Filter>,
    /// and as an earlier run had them.
    pub baseline: Option<Baseline>,
}

/// The leaks of a run, sorted.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Leaks that count.
    pub leaked: Vec<Leak>,
    /// Leaks that were closed late, where that does not count.
    pub late: Vec<Leak>,
    /// How many are known.
    pub known: usize,
    /// Entries of the baseline that no longer occur.
    pub gone: Vec<Entry>,
}

impl Gate {
    /// Sorts the leaks.
    pub fn sort(&self, leaks: Vec<Leak>, ephemeral: &Ephemeral) -> Sorted {
        let mut sorted = Sorted::default();
        let none = Baseline::default();
        let mut matcher = self.baseline.as_ref().unwrap_or(&none).matcher(ephemeral);
        for leak in leaks {
            let counts = leak.class == Class::Leaked || self.stranded;
            let is_named = self.not.iter().any(|filter| leak.is_named_by(filter));
            if !counts || is_named {
                sorted.known += usize::from(counts);
            } else if leak.ended == Ended::Late && !self.count_late {
                sorted.late.push(leak);
            } else if matcher.takes(&leak) {
                sorted.known += 1;
            } else {
                sorted.leaked.push(leak);
            }
        }
        sorted.gone = matcher.gone();
        sorted
    }

    /// True if so many leaked sockets make the run fail.
    pub fn fails(&self, leaked: usize) -> bool {
        leaked > self.max_leaks
    }

    /// The exit code: the command's own, if that is not 0.
    pub fn code(&self, own: u8, leaked: usize, complete: bool) -> u8 {
        match own {
            0 if !complete => INCOMPLETE,
            0 if self.fails(leaked) => self.leak_exit_code,
            own => own,
        }
    }
}

/// Counts sockets: one that two processes hold is one.
pub fn distinct(leaks: &[Leak]) -> usize {
    // An address may be used again after its socket is gone; not within one of these.
    let key = |leak: &Leak| (leak.sock, leak.local, leak.remote, leak.netns);
    leaks.iter().map(key).collect::<HashSet<_>>().len()
}

#[cfg(test)]
mod tests;
