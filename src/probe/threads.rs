//! Threads of a scan. To find the sockets takes the kernel as long as it takes us to decode and
//! keep them: so iterators are read on threads of their own, and what they write is decoded on the
//! caller's.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::ProbeError;
use super::error::failed;

/// The most that an iterator writes in one read: `PAGE_SIZE << 3` in the kernel's
/// `bpf_seq_read()`, of pages that may have 64 KiB. No record is split.
pub(super) const READ_MAX: usize = 512 << 10;

/// How many pieces, usually of 32 KiB, may wait to be decoded.
const PIECES: usize = 16;

/// Takes what iterators write to the thread that decodes it.
pub(super) struct Pieces<'a> {
    pieces: SyncSender<Piece>,
    /// Buffers to be filled again: new memory would cost as much as what is read into it.
    used: &'a Mutex<Vec<Piece>>,
}

/// The bytes that an iterator wrote in one read.
struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

impl Pieces<'_> {
    /// Hands over what `read` reads, piece by piece, until it reads nothing more.
    pub(super) fn fill(
        &self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, ProbeError>,
    ) -> Result<(), ProbeError> {
        loop {
            let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut piece = used.unwrap_or_else(|| Piece { buffer: vec![0; READ_MAX], len: 0 });
            piece.len = read(&mut piece.buffer)?;
            // The thread that decodes may have failed, and says so itself.
            if piece.len == 0 || self.pieces.send(piece).is_err() {
                return Ok(());
            }
        }
    }
}

/// Has `read` read iterators on a thread of its own, and `decode` take what they write on this one.
pub(super) fn gather<T: Send>(
    read: impl FnOnce(&Pieces<'_>) -> Result<T, ProbeError> + Send,
    mut decode: impl FnMut(&[u8]) -> Result<(), ProbeError>,
) -> Result<T, ProbeError> {
    let used = Mutex::default();
    thread::scope(|scope| {
        let (sender, pieces) = sync_channel(PIECES);
        let used = &used;
        let reader = spawn(scope, move || read(&Pieces { pieces: sender, used }))?;
        for piece in pieces {
            decode(&piece.buffer[..piece.len])?;
            used.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        }
        join(reader)
    })
}

/// Starts a thread. Where the host has no room for another, it is an error and no panic.
pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ProbeError> {
    thread::Builder::new().spawn_scoped(scope, run).map_err(failed("start a thread"))
}

pub(super) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
