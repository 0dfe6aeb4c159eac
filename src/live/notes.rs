//! Notes from events on sockets that only a scan can bring into the table: when a connection
//! ended with its descriptor open, and who shut a sending side down. And what follows from the
//! latter: which sockets are relays.

use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::tracked::Tracked;
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::event::{Pid, Sock, Transition};
use crate::sock::leak;
use crate::sock::state::State;

/// How many are remembered at a time. Without one, an age is a bound, and a relay is not known.
const CAPACITY: usize = 1 << 16;

/// How soon after the peer's FIN a relay passes it on.
pub const RELAY_NS: u64 = 10_000_000;

/// Notes, by socket.
#[derive(Debug, Default)]
pub(super) struct Notes(FxHashMap<SockPtr, Note>);

#[derive(Clone, Copy, Debug)]
struct Note {
    conn: Conn,
    ktime: u64,
    what: Noted,
}

#[derive(Clone, Copy, Debug)]
enum Noted {
    /// This process has shut down its sending side.
    Shutdown(Pid),
    /// The connection has ended in good order.
    End,
}

impl Notes {
    /// Takes a note of an event that says something of this kind.
    pub(super) fn take(&mut self, transition: &Transition) {
        let actor = transition.actor.as_ref().and_then(|actor| actor.pid);
        let what = match actor {
            Some(pid) if transition.is_shutdown() => Noted::Shutdown(pid),
            _ if transition.is_end() => Noted::End,
            _ => return,
        };
        if self.0.len() < CAPACITY {
            let Transition { sock, conn, ktime, .. } = *transition;
            self.0.insert(sock, Note { conn, ktime, what });
        }
    }

    /// When the connection that a scan has read came to its end.
    pub(super) fn end_of(&self, sock: &Sock) -> Option<u64> {
        let note = self.0.get(&sock.sock)?;
        let is_its_end = matches!(note.what, Noted::End) && sock.state == State::Close;
        (is_its_end && note.conn == sock.conn).then_some(note.ktime)
    }

    /// Forgets what a scan has not found.
    pub(super) fn retain(&mut self, is_known: impl Fn(SockPtr) -> bool) {
        self.0.retain(|&sock, _| is_known(sock));
    }

    /// Pairs each socket in CLOSE_WAIT with one that the same process shut down right after the FIN,
    /// and still holds. A process that has both ends of a connection passes nothing on.
    pub(super) fn relays(
        &self,
        socks: &IndexMap<SockPtr, Tracked, FxBuildHasher>,
    ) -> FxHashMap<SockPtr, SockPtr> {
        let mut shut: FxHashMap<Pid, Vec<(u64, SockPtr, Conn)>> = FxHashMap::default();
        for (&sock, note) in &self.0 {
            if let Noted::Shutdown(pid) = note.what
                && let Some(tracked) = socks.get(&sock)
                && tracked.is(note.conn, None)
                && leak::is_half_shut(tracked.state, tracked.flags)
                && is_held_by(tracked, pid)
            {
                shut.entry(pid).or_default().push((note.ktime, sock, tracked.conn.reversed()));
            }
        }
        let mut relays = FxHashMap::default();
        if shut.is_empty() {
            return relays;
        }
        let ends: FxHashMap<Conn, &Tracked> =
            socks.values().map(|tracked| (tracked.conn, tracked)).collect();
        for (pid, shut) in &mut shut {
            shut.retain(|(.., end)| !ends.get(end).is_some_and(|end| is_held_by(end, *pid)));
        }
        for (&sock, tracked) in socks {
            let fin = tracked.since;
            if tracked.state != State::CloseWait || !fin.is_exact() {
                continue;
            }
            let soon = fin.latest..=fin.latest.saturating_add(RELAY_NS);
            let by_holder = tracked.holders.iter().filter_map(|holder| shut.get(&holder.pid));
            let other = by_holder.flatten().filter(|(ktime, ..)| soon.contains(ktime));
            let other = other.map(|&(ktime, other, _)| (ktime, other)).min();
            if let Some((_, other)) = other {
                relays.insert(sock, other);
            }
        }
        relays
    }
}

fn is_held_by(tracked: &Tracked, pid: Pid) -> bool {
    tracked.holders.iter().any(|holder| holder.pid == pid)
}

#[cfg(test)]
mod tests;
