//! Where a monitor's records come from: the kernel, by way of the probe, or a test.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::sock::event::Record;
use crate::sock::sums::Sums;

/// Events as they happen, and scans on demand.
pub trait Source {
    /// Why it cannot be read.
    type Error;

    /// Waits until many events wait, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    fn wait(&self, stop: BorrowedFd<'_>, time: Duration) -> Result<bool, Self::Error>;

    /// Takes the events that have come: of sockets that enter a followed state, those that are still in
    /// it. Of one that has left meanwhile nothing is told, unless a scan has reported it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    fn take(&mut self) -> Result<Vec<Record>, Self::Error>;

    /// True if processes that exit are reported. On before a scan, which leaves out those that have
    /// begun to exit; so that each holder that a scan reports, and that exits later, is reported.
    fn report_exits(&mut self, yes: bool);

    /// Reports every wanted socket that a process holds, every listener with a queue, and every
    /// socket in these queues.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    fn scan_files(&mut self, report: impl FnMut(Record)) -> Result<(), Self::Error>;

    /// Does what [`Source::scan_files`] and [`Source::scan_ehash`] do, side by side.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    fn scan_everything(&mut self, report: impl FnMut(Record)) -> Result<Walked, Self::Error>;

    /// Walks through the hash tables of connections and reports the wanted ones that no program has;
    /// of these groups, all.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    fn scan_ehash(
        &mut self,
        groups: &[usize],
        report: impl FnMut(Record),
    ) -> Result<Walked, Self::Error>;

    /// Losses on the way, since the start.
    fn losses(&self) -> Losses;

    /// True if since the last scan a connection has come to its end with its descriptor open: only a
    /// scan can tell whether it stays so.
    fn left_open(&self) -> bool;

    /// Notes that only a scan can tell whether some connection is leaked; or that none is such.
    fn set_left_open(&mut self, yes: bool);

    /// Ways in which this kernel is unlike all that were known, as far as the last scan has shown.
    fn surprises(&self) -> Vec<String>;

    /// How many connections of an accept queue are seen at the most.
    fn queue_bound(&self) -> u32;

    /// True if scans see sockets that only an io_uring's table of files refers to.
    fn sees_rings(&self) -> bool;
}

/// Connections that a walk has left out.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The sums of the sockets that were not reported: a program has them, or had.
    pub sums: Sums,
    /// Where it did not come to the end.
    pub cut: Cut,
    /// The network namespaces that there are, where the kernel had to be asked.
    pub namespaces: Option<BTreeSet<u32>>,
}

/// Chains of connections that a walk has not followed to their end, by the cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// True if this kernel lets us follow a part of them only.
    pub by_kernel: bool,
    /// How many have been changing all the time.
    pub strayed: u32,
    /// How many are longer than what is followed.
    pub overlong: u32,
}

/// Losses on the way, by their cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events for which the ring had no room.
    pub dropped: u64,
    /// Events that happened while our programs were interrupted on their CPU.
    pub skipped: u64,
    /// Listeners and queued connections for which there was no room.
    pub queued: u64,
    /// Records that could not be read.
    pub undecodable: u64,
}

impl Losses {
    /// How many events were lost.
    pub fn events(&self) -> u64 {
        self.dropped + self.skipped
    }
}
