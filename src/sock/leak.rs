//! What went wrong with a socket whose peer is gone, and what to tell the developer.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::sock::event::SockFlags;
use crate::sock::state::State;

/// What kind of bug a leaked socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The program has read everything, end-of-file included.
    EofRead,
    /// The program has read everything but end-of-file.
    EofUnread,
    /// Data waits to be read.
    DataUnread,
    /// The program has not accepted the connection.
    NeverAccepted,
    /// The connection was destroyed, the descriptor is open.
    Reset,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 5] =
        [Self::EofRead, Self::EofUnread, Self::DataUnread, Self::NeverAccepted, Self::Reset];

    /// Judges a socket; `queued` is one that waits in an accept queue.
    ///
    /// `None` where there is nothing to judge (the peer is not gone), or no proof. A connection in
    /// CLOSE without a pending error was reset and the program has fetched the error, or it was
    /// shut down by both sides in good order, and nothing in the socket tells which. What a
    /// program has read of an MPTCP connection, TCP does not know.
    pub fn of(state: State, flags: SockFlags, queued: bool, unread: u32, err: u16) -> Option<Self> {
        match state {
            State::CloseWait | State::Close | State::Established if queued => {
                Some(Self::NeverAccepted)
            }
            State::Close => {
                (flags.contains(SockFlags::CONNECTED) && err != 0).then_some(Self::Reset)
            }
            State::CloseWait if flags.read_by_mptcp() => None,
            State::CloseWait => Some(match unread {
                0 => Self::EofRead,
                1 => Self::EofUnread,
                _ => Self::DataUnread,
            }),
            _ => None,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EofRead => "eof-read",
            Self::EofUnread => "eof-unread",
            Self::DataUnread => "data-unread",
            Self::NeverAccepted => "never-accepted",
            Self::Reset => "reset",
        }
    }

    /// The same in a plain sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::EofRead => "the program read end-of-file and forgot to close",
            Self::EofUnread => "the peer left and the program has not looked",
            Self::DataUnread => "data waits that the program does not read",
            Self::NeverAccepted => "the program does not accept the connection",
            Self::Reset => "the connection was destroyed, its descriptor is still open",
        }
    }

    /// A paragraph: what it means, the usual causes, the cures.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::EofRead => {
                "\
The peer closed the connection. The program noticed: it read everything, end-of-file
included, and then did not close its descriptor. The classic leak.

Usual causes: an early return or an exception between the read and the close; a read of
0 bytes taken for \"nothing yet\"; a response body that is never closed (Go's resp.Body, a
Python response outside `with`); a handler that removes the socket from its event loop
and drops the number, but not the descriptor.

Cures: tie the descriptor to a scope (defer, with, try-with-resources, RAII); treat a read
of 0 bytes as the end; close on every path out of the handler."
            }
            Self::EofUnread => {
                "\
The peer closed the connection. The program has read all data, but not end-of-file: it
has not looked at the socket since.

Usual causes: an idle connection in a pool that nobody checks; a descriptor that is no
longer registered with epoll; a worker that waits for something else (a lock, a slow
backend) while its client has given up.

Cures: let the pool drop idle connections (an idle timeout below the peer's) and test them
before use; keep sockets registered for EPOLLRDHUP; put a deadline on what workers wait for."
            }
            Self::DataUnread => {
                "\
The peer sent data and closed, and the data is still in the receive buffer: the program
has stopped reading. `unread_bytes` says how much waits.

Usual causes: a stuck or overloaded worker; a connection object that was lost without
being closed; a program that decided on its answer before it had read the request, and
then neither read the rest nor closed.

Cures: look at what the thread that owns the descriptor is doing; put a deadline on reads;
close connections whose request is not wanted."
            }
            Self::NeverAccepted => {
                "\
The connection is established as far as the peer knows, and the peer has left again, but
the program has not called accept(): the connection waits in the listener's queue, without
a descriptor. The row names the listener's process.

Usual causes: the process is out of descriptors (accept() fails with EMFILE: look at
`open_fds` and `fd_limit`), often because of other leaks; the accepting thread is blocked
or has died; the listener was inherited by a process that does not know of it.

Cures: mend the leak that ate the descriptors; raise the limit meanwhile; keep the thread
that accepts free of other work; mark listeners close-on-exec."
            }
            Self::Reset => {
                "\
The peer had closed the connection, and then it was destroyed under the program: by a RST
from a peer or a middlebox that had forgotten it, by an expired keepalive, or by `ss -K`. Its
state is CLOSE, and ss and netstat no longer show it, but the descriptor is still open. It
began as one of the other leaks; keepalive (which Go and others enable by default) turns
them into this after a while.

Cures: those of the leak that it was; a counter of CLOSE_WAIT that goes down on its own is
no cure."
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no such verdict; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED: SockFlags = SockFlags::CONNECTED;

    #[test]
    fn what_is_unread_decides_in_close_wait() {
        let of = |unread| Verdict::of(State::CloseWait, CONNECTED, false, unread, 0);
        assert_eq!(of(0), Some(Verdict::EofRead));
        assert_eq!(of(1), Some(Verdict::EofUnread));
        assert_eq!(of(6), Some(Verdict::DataUnread));
    }

    #[test]
    fn a_queue_outranks_what_is_unread() {
        let of = |state| Verdict::of(state, CONNECTED, true, 6, 0);
        assert_eq!(of(State::CloseWait), Some(Verdict::NeverAccepted));
        assert_eq!(of(State::Close), Some(Verdict::NeverAccepted));
    }

    #[test]
    fn a_reset_needs_proof() {
        let of = |flags, err| Verdict::of(State::Close, flags, false, 0, err);
        assert_eq!(of(CONNECTED, 32), Some(Verdict::Reset));
        assert_eq!(of(CONNECTED, 0), None);
        assert_eq!(of(SockFlags::empty(), 111), None, "a refused connect() was never a connection");
    }

    #[test]
    fn of_mptcp_nothing_is_guessed() {
        const SUBFLOW: SockFlags = SockFlags::CONNECTED.union(SockFlags::SUBFLOW);
        assert_eq!(Verdict::of(State::CloseWait, SUBFLOW, false, 0, 0), None);
        assert_eq!(
            Verdict::of(State::CloseWait, SUBFLOW, true, 0, 0),
            Some(Verdict::NeverAccepted)
        );
    }

    #[test]
    fn a_healthy_state_has_no_verdict() {
        assert_eq!(Verdict::of(State::FinWait2, CONNECTED, false, 0, 0), None);
    }
}
