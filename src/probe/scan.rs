//! Scans: what the iterators tell.
//!
//! To find the sockets takes the kernel as long as it takes us to decode and keep them. So
//! iterators are read on a thread of their own, while what they have told is decoded on this one;
//! and a scan of everything reads the files and the network namespaces side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use libbpf_rs::{Iter, MapCore};

use super::error::{failed, refused};
use super::load::Links;
use super::{Probe, ProbeError};
use crate::event::{self, Record};
use crate::netns;
use crate::table::Covered;

/// What an iterator hands over at once, at the most: `PAGE_SIZE << 3` in the kernel's
/// `bpf_seq_read()`, of pages that may have 64 KiB. It cuts no record in two.
const READ_MAX: usize = 512 << 10;

/// How many such pieces, usually of 32 KiB, may wait to be decoded.
const PIECES: usize = 16;

/// Takes what iterators have told to where it is decoded.
struct Pieces<'a> {
    told: SyncSender<Piece>,
    /// To be filled again: new memory would cost as much as what is read into it.
    used: &'a Mutex<Vec<Piece>>,
}

/// What an iterator has told at once.
struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

/// Where a scan has looked for sockets that no process holds.
#[derive(Debug)]
pub struct Looked {
    covered: Covered,
    /// The paths by which it has entered the network namespaces.
    paths: BTreeMap<u32, PathBuf>,
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

    /// The same, and as [`Probe::scan_tcp`] does in every network namespace there is.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_everything(&mut self, report: impl FnMut(Record)) -> Result<Looked, ProbeError> {
        let look = |links: &Links, pieces: &Pieces<'_>| {
            let (mut paths, mut closed) = links.find_netns()?;
            closed.extend(links.read_netns(&mut paths, pieces)?);
            Ok(Looked { covered: Covered::AllBut(closed.into_iter().collect()), paths })
        };
        let read = |links: &Links, pieces: &Pieces<'_>| {
            thread::scope(|scope| {
                let looking = spawn(scope, || look(links, pieces))?;
                let files = links.read_files(pieces);
                let looked = join(looking);
                files.and(looked)
            })
        };
        self.gather_with_queues(read, report)
    }

    /// Reports the watched sockets in these network namespaces that no program has; and as a sum,
    /// those that one has, or had.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_tcp(
        &mut self,
        wanted: &[u32],
        report: impl FnMut(Record),
    ) -> Result<Looked, ProbeError> {
        let look = |links: &Links, pieces: &Pieces<'_>| {
            // One that nobody knows of has no process left, and no name.
            let mut paths = if wanted.is_empty() { BTreeMap::new() } else { netns::all() };
            paths.retain(|netns, _| wanted.contains(netns));
            let closed = links.read_netns(&mut paths, pieces)?;
            let open = wanted.iter().copied().filter(|netns| !closed.contains(netns));
            Ok(Looked { covered: Covered::Only(open.collect()), paths })
        };
        self.gather(look, report)
    }

    /// Reports what a look has only summed up, in these network namespaces. Says where both could
    /// look.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn tell_passed_over(
        &mut self,
        looked: Looked,
        in_doubt: &[u32],
        report: impl FnMut(Record),
    ) -> Result<Covered, ProbeError> {
        let Looked { mut covered, mut paths } = looked;
        paths.retain(|netns, _| in_doubt.contains(netns));
        if !paths.is_empty() {
            self.tell_all(true);
            let told = self.gather(|links, pieces| links.read_netns(&mut paths, pieces), report);
            self.tell_all(false);
            told?.into_iter().for_each(|netns| covered.remove(netns));
        }
        Ok(covered)
    }

    fn tell_all(&mut self, all: bool) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.tell_all = all.into();
        }
    }

    /// [`Probe::gather`], and then what waits in the queues of the listeners that were told.
    fn gather_with_queues<T: Send>(
        &mut self,
        read: impl FnOnce(&Links, &Pieces<'_>) -> Result<T, ProbeError> + Send,
        mut report: impl FnMut(Record),
    ) -> Result<T, ProbeError> {
        let mut queues = false;
        let value = self.gather(read, |record| {
            queues |= matches!(record, Record::Listener(..));
            report(record);
        })?;
        if queues {
            self.scan_queues(report)?;
        }
        Ok(value)
    }

    /// Reports what waits in the queues of the listeners that the scan of files has noted.
    fn scan_queues(&mut self, report: impl FnMut(Record)) -> Result<(), ProbeError> {
        let read = |links: &Links, pieces: &Pieces<'_>| {
            let Some((walk, tell)) = &links.queues else {
                return Ok(());
            };
            let open = |link| Iter::new(link).map_err(refused("open iter/bpf_map_elem"));
            let (walk, tell) = (open(walk)?, open(tell)?);
            read_out(walk, pieces)?;
            read_out(tell, pieces)
        };
        self.gather(read, report)?;
        let maps = &self.skeleton.maps;
        for map in [&maps.listeners, &maps.queued] {
            for key in map.keys().collect::<Vec<_>>() {
                // Nobody else deletes; and what stayed would be told again, and not be believed.
                let _ = map.delete(&key);
            }
        }
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
        read_out(Iter::new(&self.files).map_err(refused("open iter/task_file"))?, pieces)
    }

    /// The network namespaces that somebody lives in or that have a name, each with a path to enter
    /// it by; and those that there is no way into.
    fn find_netns(&self) -> Result<(BTreeMap<u32, PathBuf>, BTreeSet<u32>), ProbeError> {
        let mut closed = self.inhabited_netns()?;
        let paths = netns::all();
        closed.retain(|netns| !paths.contains_key(netns));
        if !closed.is_empty() {
            // What has ended meanwhile is not hidden, but gone.
            let inhabited = self.inhabited_netns()?;
            closed.retain(|netns| inhabited.contains(netns));
        }
        Ok((paths, closed))
    }

    /// The network namespaces that somebody lives in, known to /proc or not.
    fn inhabited_netns(&self) -> Result<BTreeSet<u32>, ProbeError> {
        let mut iter = Iter::new(&self.netns).map_err(refused("open iter/task"))?;
        let mut buffer = vec![0; READ_MAX];
        let mut found = BTreeSet::new();
        loop {
            let len = read_some(&mut iter, &mut buffer)?;
            if len == 0 {
                break;
            }
            let (inodes, _) = buffer[..len].as_chunks();
            found.extend(inodes.iter().copied().map(u32::from_ne_bytes));
        }
        // What exits has left its namespaces.
        found.remove(&0);
        Ok(found)
    }

    /// Reads the sockets of these network namespaces. Says which of them, taken out of `paths`,
    /// cannot be looked into.
    fn read_netns(
        &self,
        paths: &mut BTreeMap<u32, PathBuf>,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u32>, ProbeError> {
        let own = netns::inode(Path::new("/proc/self/ns/net")).ok();
        let mut closed = Vec::new();
        for (&netns, path) in &*paths {
            let Some(tcp) = &self.tcp else {
                closed.push(netns);
                continue;
            };
            let iter = match own == Some(netns) {
                true => Ok(Iter::new(tcp)),
                false => netns::inside(path, || Iter::new(tcp)),
            };
            match iter {
                Ok(iter) => read_out(iter.map_err(refused("open iter/tcp"))?, pieces)?,
                // It is gone with its last process, and so are its sockets.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => closed.push(netns),
            }
        }
        paths.retain(|netns, _| !closed.contains(netns));
        Ok(closed)
    }
}

/// Reads an iterator to its end.
fn read_out(mut iter: Iter, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    loop {
        let used = pieces.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut piece = used.unwrap_or_else(|| Piece { buffer: vec![0; READ_MAX], len: 0 });
        piece.len = read_some(&mut iter, &mut piece.buffer)?;
        // Whoever listened may have failed, and says so.
        if piece.len == 0 || pieces.told.send(piece).is_err() {
            return Ok(());
        }
    }
}

/// Reads what an iterator has next, and says how many bytes it is; 0 at its end.
fn read_some(iter: &mut Iter, buffer: &mut [u8]) -> Result<usize, ProbeError> {
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
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ProbeError> {
    thread::Builder::new().spawn_scoped(scope, run).map_err(failed("start a thread"))
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
