//! Scans: the truth about which sockets there are, and who holds them.
//!
//! A scan goes through these steps, in this order.
//!
//! 1. **Files.** `scan_tasks` visits the table of descriptors of each process (`tasks.h`), or where
//!    the kernel cannot do that, `scan_files` visits each open file (`files.h`). It reports the
//!    sockets that are wanted (`candidate.h`), each with its process and descriptor, and a process
//!    record for every process that has one. Of listeners with something in their accept queues it
//!    also notes the address. Last come the io_urings of a process: a socket in the table of one may
//!    have no descriptor ([`Probe::sees_rings`]). A table of descriptors that several processes
//!    share is read for one of them; the others are reported to hold the same.
//! 2. **Queues.** `walk_queues` walks along the accept queue of each listener that was noted, and
//!    `report_queued` reports what waits there (`queues.h`). This finds connections that no
//!    descriptor refers to yet.
//! 3. **The hash walk.** `scan_ehash` walks through the hash table of all connections (`ehash.h`),
//!    once for the table that most network namespaces share, and once for each namespace with a
//!    table of its own (`ehash.rs`), and again where there was no room for all. It reports what nobody
//!    has: sockets without a `struct socket`. These are orphans and TIME_WAIT, where they were asked
//!    for, and the children of listeners that no process was seen to hold. A scan of everything makes
//!    this walk while it reads the files.
//! 4. **What is in flight.** A socket with a `struct socket` that no process holds is in a message
//!    between processes, or was passed on behind the back of step 1. To find it the walk would have
//!    to report all sockets; instead it sums their addresses, a sum for each group of them. The
//!    caller sums the addresses of those that it knows to be held, and where the sums of a group
//!    differ, it asks for a second walk that reports all sockets of that group
//!    ([`Probe::scan_ehash`]). Both sides must sum the same sockets, so they decide by what does
//!    not change in between: a socket counts if it has a `struct socket`, is no MPTCP connection,
//!    and its state is watched, or CLOSE_WAIT, or one in which the program has shut down its side
//!    (`is_summed()` in `candidate.h`).
//! 5. **What happens meanwhile** comes through the ring as always, between the records of the scan.
//!    Each record says when it was read, so that the caller can tell which is newer. Entries that
//!    are held back stay so, but those of sockets that the scan reports: these are sent, so that one
//!    hears of it when the sockets leave (`is_still()` in `held_back.h`).
//!
//! An answer is incomplete where
//!
//! - the walk did not come to the end of a chain of connections: this kernel does not let it, the
//!   chain changed all the time, or it is too long ([`Cut`]);
//! - a queue is longer than what this kernel can walk ([`Probe::queue_bound`]), or there was no
//!   room to note all listeners, and all that waits ([`Probe::queues_lost`]);
//! - io_urings are not looked into, or there was no room to note all ([`Probe::rings_lost`]);
//! - bytes came that are no record ([`Probe::undecodable`]);
//! - the kernel is unlike all that were known ([`Probe::surprises`]).
//!
//! It is no part of a scan, and of no iterator's view, what is in state CLOSE and has no descriptor
//! and no queue: such a socket is in no table of the kernel's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use libbpf_rs::MapCore;

use super::iterators::Links;
use super::threads::{Pieces, gather, join, spawn};
use super::{Probe, ProbeError};
use crate::live::source::{Cut, Walked};
use crate::sock::decode::decode;
use crate::sock::event::Record;
use crate::sock::sums::{GROUPS, Sums};

impl Probe {
    /// Reports every wanted socket that a process holds, every listener with a queue, and every
    /// socket in these queues.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_files(&mut self, report: impl FnMut(Record)) -> Result<(), ProbeError> {
        self.gather_with_queues(Links::read_files, report)
    }

    /// Does what [`Probe::scan_files`] and [`Probe::scan_ehash`] do, in parallel.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_everything(&mut self, report: impl FnMut(Record)) -> Result<Walked, ProbeError> {
        let read = |links: &Links, pieces: &Pieces<'_>| {
            thread::scope(|scope| {
                let walking = spawn(scope, || links.read_ehash(pieces))?;
                let files = links.read_files(pieces);
                let walked = join(walking);
                files.and(walked)
            })
        };
        self.begin_walk(&[]);
        let namespaces = self.gather_with_queues(read, report)?;
        Ok(self.end_walk(namespaces))
    }

    /// Reports the connections, and what is left of them, that no program has; in these groups,
    /// all connections.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_ehash(
        &mut self,
        groups: &[usize],
        report: impl FnMut(Record),
    ) -> Result<Walked, ProbeError> {
        self.begin_walk(groups);
        let namespaces = self.gather(Links::read_ehash, report)?;
        Ok(self.end_walk(namespaces))
    }

    fn begin_walk(&mut self, groups: &[usize]) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.report_all.fill(0);
            groups.iter().for_each(|&group| bss.report_all[group] = 1);
            bss.sums.fill(0);
            (bss.unwalked, bss.strayed, bss.overlong) = (0, 0, 0);
        }
    }

    fn end_walk(&self, namespaces: Option<BTreeSet<u32>>) -> Walked {
        let bss = self.skeleton.maps.bss_data.as_deref();
        #[expect(unsafe_code, reason = "the kernel has written it")]
        let sums = bss.map_or([0; GROUPS], |bss| unsafe { (&raw const bss.sums).read_volatile() });
        Walked {
            namespaces,
            sums: Sums(Box::new(sums)),
            cut: Cut {
                by_kernel: self.global(|bss| &bss.unwalked) > 0 || self.links.hash.is_none(),
                strayed: self.global(|bss| &bss.strayed),
                overlong: self.global(|bss| &bss.overlong),
            },
        }
    }

    /// Gathers the records of what `read` reads, and then what waits in the queues of the listeners
    /// among them.
    fn gather_with_queues<T: Send>(
        &mut self,
        read: impl FnOnce(&Links, &Pieces<'_>) -> Result<T, ProbeError> + Send,
        mut report: impl FnMut(Record),
    ) -> Result<T, ProbeError> {
        self.set_left_open(false);
        self.set_global(|bss| &mut bss.queues_lost, 0);
        self.set_global(|bss| &mut bss.rings_lost, 0);
        let mut queues = false;
        let value = self.gather(read, |record| {
            queues |= matches!(record, Record::Listener(..));
            report(record);
        })?;
        let maps = &self.skeleton.maps;
        clear(&maps.shared_files);
        if queues {
            self.gather(Links::read_queues, report)?;
            clear(&self.skeleton.maps.listeners);
            clear(&self.skeleton.maps.queued);
        }
        Ok(value)
    }

    /// Reports the records of what `read` reads, on a thread of its own, and what comes through the
    /// ring meanwhile.
    fn gather<T: Send>(
        &mut self,
        read: impl FnOnce(&Links, &Pieces<'_>) -> Result<T, ProbeError> + Send,
        mut report: impl FnMut(Record),
    ) -> Result<T, ProbeError> {
        let links = Arc::clone(&self.links);
        let value = gather(
            |pieces| read(&links, pieces),
            |mut rest| {
                while !rest.is_empty() {
                    let Ok((record, len)) = decode(rest) else {
                        // Nobody knows where the next record begins.
                        self.ring.count_undecodable();
                        break;
                    };
                    report(record);
                    rest = &rest[len..];
                }
                self.take_from_ring()?.into_iter().for_each(&mut report);
                Ok(())
            },
        )?;
        self.take_from_ring()?.into_iter().for_each(report);
        Ok(value)
    }
}

/// Deletes all entries of a map. Nobody else does; an entry that stayed would only be visited again.
fn clear(map: &impl MapCore) {
    for key in map.keys().collect::<Vec<_>>() {
        let _ = map.delete(&key);
    }
}
