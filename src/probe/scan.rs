//! Scans: what the iterators tell.
//!
//! To find the sockets takes the kernel as long as it takes us to decode and keep them. So
//! iterators are read on a thread of their own, while what they have told is decoded on this one;
//! and a scan of everything reads the files and the network namespaces side by side.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use libbpf_rs::{Iter, Link, MapCore};

use super::error::{failed, refused};
use super::load::Links;
use super::{Probe, ProbeError};
use crate::live::source::Walked;
use crate::sock::event::{self, Record};
use crate::sock::sums::{GROUPS, Sums};

/// What an iterator hands over at once, at the most: `PAGE_SIZE << 3` in the kernel's
/// `bpf_seq_read()`, of pages that may have 64 KiB. It cuts no record in two.
pub(super) const READ_MAX: usize = 512 << 10;

/// How many such pieces, usually of 32 KiB, may wait to be decoded.
const PIECES: usize = 16;

/// Takes what iterators have told to where it is decoded.
pub(super) struct Pieces<'a> {
    told: SyncSender<Piece>,
    /// To be filled again: new memory would cost as much as what is read into it.
    used: &'a Mutex<Vec<Piece>>,
}

/// What an iterator has told at once.
struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

impl Probe {
    /// Reports every watched socket that a process holds, every listener with a queue, and every
    /// watched socket in these queues.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_files(&mut self, report: impl FnMut(Record)) -> Result<(), ProbeError> {
        self.gather_with_queues(Links::read_files, report)
    }

    /// The same, and as [`Probe::scan_ehash`] does.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_everything(&mut self, report: impl FnMut(Record)) -> Result<Walked, ProbeError> {
        let read = |links: &Links, pieces: &Pieces<'_>| {
            thread::scope(|scope| {
                let walking = spawn(scope, || links.read_ehash(pieces))?;
                let files = links.read_files(pieces);
                let closed = join(walking);
                files.and(closed)
            })
        };
        self.begin_walk(&[]);
        let closed = self.gather_with_queues(read, report)?;
        Ok(self.end_walk(closed))
    }

    /// Reports the watched connections, and what is left of them, that no program has; of these
    /// groups, all.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_ehash(
        &mut self,
        groups: &[usize],
        report: impl FnMut(Record),
    ) -> Result<Walked, ProbeError> {
        self.begin_walk(groups);
        let closed = self.gather(Links::read_ehash, report)?;
        Ok(self.end_walk(closed))
    }

    fn begin_walk(&mut self, groups: &[usize]) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.report_all.fill(0);
            groups.iter().for_each(|&group| bss.report_all[group] = 1);
            bss.sums.fill(0);
            bss.unwalked = 0;
        }
    }

    fn end_walk(&self, closed: Vec<u32>) -> Walked {
        let bss = self.skeleton.maps.bss_data.as_deref();
        #[expect(unsafe_code, reason = "the kernel has written it")]
        let read = bss.map(|bss| unsafe {
            ((&raw const bss.sums).read_volatile(), (&raw const bss.unwalked).read_volatile())
        });
        let (passed_over, unwalked) = read.unwrap_or(([0; GROUPS], 0));
        let cut = unwalked > 0 || self.links.maps.is_none();
        Walked { passed_over: Sums(Box::new(passed_over)), unreachable: closed, truncated: cut }
    }

    /// [`Probe::gather`], and then what waits in the queues of the listeners that were told.
    fn gather_with_queues<T: Send>(
        &mut self,
        read: impl FnOnce(&Links, &Pieces<'_>) -> Result<T, ProbeError> + Send,
        mut report: impl FnMut(Record),
    ) -> Result<T, ProbeError> {
        self.set_left_open(false);
        self.set_global(|bss| &mut bss.queues_lost, 0);
        let mut queues = false;
        let value = self.gather(read, |record| {
            queues |= matches!(record, Record::Listener(..));
            report(record);
        })?;
        clear(&self.skeleton.maps.shared_files);
        if queues {
            self.scan_queues(report)?;
        }
        Ok(value)
    }

    /// Reports what waits in the queues of the listeners that the scan of files has noted.
    fn scan_queues(&mut self, report: impl FnMut(Record)) -> Result<(), ProbeError> {
        let read = |links: &Links, pieces: &Pieces<'_>| {
            let Some(maps) = &links.maps else {
                return Ok(());
            };
            read_map(&maps.queues, pieces)?;
            read_map(&maps.queued, pieces)
        };
        self.gather(read, report)?;
        let maps = &self.skeleton.maps;
        clear(&maps.listeners);
        clear(&maps.queued);
        Ok(())
    }

    /// Has `read` read iterators on a thread of its own, and reports what they tell, and what comes
    /// through the ring meanwhile.
    fn gather<T: Send>(
        &mut self,
        read: impl FnOnce(&Links, &Pieces<'_>) -> Result<T, ProbeError> + Send,
        mut report: impl FnMut(Record),
    ) -> Result<T, ProbeError> {
        let links = Arc::clone(&self.links);
        let used = Mutex::default();
        thread::scope(|scope| {
            let (told, pieces) = sync_channel(PIECES);
            let used = &used;
            let reader = spawn(scope, move || read(&links, &Pieces { told, used }))?;
            for piece in pieces {
                let mut rest = &piece.buffer[..piece.len];
                while !rest.is_empty() {
                    match event::decode(rest) {
                        Ok((record, len)) => {
                            report(record);
                            rest = &rest[len..];
                        }
                        Err(_) => {
                            // Where the next record begins is anybody's guess.
                            self.inbox.borrow_mut().undecodable += 1;
                            break;
                        }
                    }
                }
                used.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
                self.take()?.into_iter().for_each(&mut report);
            }
            self.take()?.into_iter().for_each(report);
            join(reader)
        })
    }
}

impl Links {
    fn read_files(&self, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
        let mut iter = Iter::new(&self.files).map_err(refused("open iter/task_file"))?;
        let Some(found) = &self.found else {
            return read_out(iter, pieces);
        };
        loop {
            // It tells nothing. It stops where there is no more room, and goes on from there.
            let read = iter.read(&mut [0; 8]);
            read_map(found, pieces)?;
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(|_| ()).map_err(failed("read an iterator")),
            }
        }
    }
}

/// Deletes all entries of a map. Nobody else deletes; an entry that stayed would only be visited again.
fn clear(map: &impl MapCore) {
    for key in map.keys().collect::<Vec<_>>() {
        let _ = map.delete(&key);
    }
}

/// Reads what is told of the elements of a map.
pub(super) fn read_map(link: &Link, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    read_out(Iter::new(link).map_err(refused("open iter/bpf_map_elem"))?, pieces)
}

/// Reads an iterator to its end.
fn read_out(mut iter: Iter, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    read_out_by(pieces, |buffer| read_some(&mut iter, buffer))
}

/// Reads the walk through a hash table, which asks to be tried again where the table ends.
pub(super) fn read_walk(link: &Link, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    let mut iter = Iter::new(link).map_err(refused("open iter/bpf_map_elem"))?;
    read_out_by(pieces, |buffer| {
        loop {
            match iter.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                read => return read.map_err(failed("read an iterator")),
            }
        }
    })
}

fn read_out_by(
    pieces: &Pieces<'_>,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, ProbeError>,
) -> Result<(), ProbeError> {
    loop {
        let used = pieces.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut piece = used.unwrap_or_else(|| Piece { buffer: vec![0; READ_MAX], len: 0 });
        piece.len = read(&mut piece.buffer)?;
        // Whoever listened may have failed, and says so.
        if piece.len == 0 || pieces.told.send(piece).is_err() {
            return Ok(());
        }
    }
}

/// Reads what an iterator has next, and says how many bytes it is; 0 at its end.
pub(super) fn read_some(iter: &mut Iter, buffer: &mut [u8]) -> Result<usize, ProbeError> {
    loop {
        match iter.read(buffer) {
            // After a million objects without one of ours the kernel catches its breath.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            read => return read.map_err(failed("read an iterator")),
        }
    }
}

/// Where the host has no room for another thread, it is an error and no panic.
pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ProbeError> {
    thread::Builder::new().spawn_scoped(scope, run).map_err(failed("start a thread"))
}

pub(super) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
