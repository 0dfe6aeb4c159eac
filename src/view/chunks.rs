//! Long lists, made on several threads.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread::{self, available_parallelism};

/// How many rows one thread makes at once.
pub(super) const ROWS: usize = 1_000;
/// With fewer chunks than this, to start a thread takes longer than to do without.
const MANY: usize = 10;
/// How many chunks a thread may be ahead.
const AHEAD: usize = 8;

/// Has `make` make something of every chunk, on as many threads as there are CPUs, and `take` take
/// it, in order.
pub(super) fn in_order<Chunk: Sync, Made: Send>(
    chunks: &[Chunk],
    make: impl Fn(&Chunk) -> io::Result<Made> + Sync,
    mut take: impl FnMut(Made) -> io::Result<()>,
) -> io::Result<()> {
    let threads = match chunks.len() {
        0..MANY => 1,
        _ => available_parallelism().map_or(1, NonZero::get),
    };
    if threads == 1 {
        return chunks.iter().try_for_each(|chunk| take(make(chunk)?));
    }
    thread::scope(|scope| {
        let made: Vec<_> = (0..threads)
            .map(|first| {
                let (done, made) = sync_channel(AHEAD);
                let make = &make;
                let work = move || {
                    let own = chunks.iter().skip(first).step_by(threads);
                    // Where something has failed, nobody waits for the rest.
                    let _ = own.map(make).try_for_each(|made| done.send(made));
                };
                // A thread that cannot be started leaves a channel without a sender.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
                made
            })
            .collect();
        for (chunk, made) in chunks.iter().zip(made.iter().cycle()) {
            take(made.recv().unwrap_or_else(|_| make(chunk))?)?;
        }
        Ok(())
    })
}
