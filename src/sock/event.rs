//! The records from the kernel, as values.

use std::num::NonZeroU64;

use bitflags::bitflags;

use crate::bpf::types as raw;
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::state::State;

/// A process, as seen in the PID namespace that sockleak runs in.
pub type Pid = u32;

/// A record from the kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A socket changed its state.
    Transition(Transition),
    /// A process has a socket open.
    Held(Holder, Sock),
    /// A socket waits in the accept queue of this listener.
    Queued(SockPtr, Sock),
    /// A socket exists, whoever has it.
    Unheld(Sock),
    /// A process has a listener open whose accept queue is not empty.
    Listener(Holder, Listener),
    /// A process that holds one of the above.
    Process(Pid, Process),
    /// A process that holds all that the second one does: they share a table of descriptors.
    SameFiles(Pid, Pid),
    /// The process of this number that began at this time (see [`Process`]) has exited.
    Exit(Pid, u64),
}

/// A process, and through what it holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The process.
    pub pid: Pid,
    /// The descriptor: the socket's own, or that of an io_uring.
    pub fd: u32,
    /// Where in the table of that io_uring.
    pub slot: Option<u32>,
}

impl Holder {
    /// A process that has the socket open at a descriptor.
    pub fn at(pid: Pid, fd: u32) -> Self {
        Self { pid, fd, slot: None }
    }
}

/// A change of state, at the time when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When: ns, `CLOCK_MONOTONIC`.
    pub ktime: u64,
    /// Which socket.
    pub sock: SockPtr,
    /// Which connection.
    pub conn: Conn,
    /// Its cookie, once it has one.
    pub cookie: Option<NonZeroU64>,
    /// From this state
    pub old: State,
    /// to this one.
    pub new: State,
    /// Flags of the socket at that moment.
    pub flags: SockFlags,
    /// How far the program and its peer had come.
    pub progress: Progress,
    /// The pending errno, 0 for none.
    pub err: u16,
    /// The task that made it, where the task that ran is the one that made it.
    pub actor: Option<Actor>,
}

impl Transition {
    /// Returns true if the connection was destroyed after its peer had left.
    pub fn ends_close_wait(&self) -> bool {
        (self.old, self.new) == (State::CloseWait, State::Close)
    }

    /// Returns true if the connection was destroyed under its program, which finds an error: a
    /// `close()` shuts both sides down first, and leaves none.
    pub fn is_reset(&self) -> bool {
        self.new == State::Close
            && self.err != 0
            && self.flags.contains(SockFlags::CONNECTED)
            && !self.flags.contains(SockFlags::ORPHAN)
            && !self.flags.contains(SockFlags::SHUT_BOTH)
    }

    /// Returns true at an end in good order with the descriptor still open. Nearly always a
    /// `close()` follows within a moment, and no event tells of that.
    pub fn is_end(&self) -> bool {
        self.new == State::Close && self.err == 0 && self.flags.contains(SockFlags::HAS_FILE)
    }

    /// Returns true if the program has shut down its sending side, and keeps the socket.
    pub fn is_shutdown(&self) -> bool {
        let shut = self.flags & SockFlags::SHUT_BOTH;
        self.new == State::FinWait1 && shut == SockFlags::SHUT_SEND
    }
}

/// Who made a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The process; `None` where it is not visible in our PID namespace.
    pub pid: Option<Pid>,
    /// Its name, unsanitised.
    pub comm: String,
    /// It made the transition by exiting.
    pub exiting: bool,
}

/// A socket, as an iterator saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sock {
    /// Where it is.
    pub sock: SockPtr,
    /// Which connection.
    pub conn: Conn,
    /// Its cookie, once it has one.
    pub cookie: Option<NonZeroU64>,
    /// Its state.
    pub state: State,
    /// More about it.
    pub flags: SockFlags,
    /// How far the program and its peer have come.
    pub progress: Progress,
    /// `rcv_nxt - copied_seq`: unread bytes, and one for an unread FIN.
    pub unread: u32,
    /// How many bytes have come from the peer, one of them for a FIN.
    pub bytes_received: u64,
    /// How many bytes the peer has acknowledged.
    pub bytes_acked: u64,
    /// The pending errno, 0 for none.
    pub err: u16,
    /// When it was seen, and when it was last active.
    pub stamps: Stamps,
}

/// The moment of a reading, and the connection's own timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When this was read: ns, `CLOCK_MONOTONIC`.
    pub ktime: u64,
    /// The same moment in jiffies, the low half.
    pub jiffies: u32,
    /// The last packet in or out: µs, `CLOCK_MONOTONIC`.
    pub mstamp: u64,
    /// The last ACK received: jiffies.
    pub rcv_tstamp: u32,
    /// The last data received: jiffies.
    pub lrcvtime: u32,
    /// The last data sent: jiffies.
    pub lsndtime: u32,
    /// Since when the peer's window has been closed: jiffies; 0 where it is open, or not known.
    pub probing_since: u32,
    /// A read that copied data: µs, `CLOCK_MONOTONIC`. Later reads may not be noted.
    pub read_mstamp: u64,
}

/// Sequence numbers that move while a program reads and sends, and while its peer takes what was
/// sent. All are 0 where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The program has read up to here.
    pub copied_seq: u32,
    /// The program has written up to here.
    pub write_seq: u32,
    /// The peer has acknowledged up to here.
    pub snd_una: u32,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where it is.
    pub sock: SockPtr,
    /// Where it listens.
    pub conn: Conn,
    /// How many connections wait in its accept queue.
    pub backlog: u32,
    /// How many may.
    pub max_backlog: u32,
}

/// A process that holds sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its name, unsanitised.
    pub comm: String,
    /// Its effective user, as the initial user namespace numbers it.
    pub uid: u32,
    /// When it began: ns, `CLOCK_MONOTONIC`. With its number, it names a process for good.
    pub start_time: u64,
    /// The same moment as /proc counts it: ns, `CLOCK_BOOTTIME`, which goes on while the host sleeps.
    pub start_boottime: u64,
    /// A signal or a debugger has stopped it.
    pub stopped: bool,
    /// How many descriptors it may have open: the soft `RLIMIT_NOFILE`.
    pub fd_limit: u64,
    /// How many descriptors it has open.
    pub open_fds: u32,
    /// Descriptors by what they refer to.
    pub descriptors: Descriptors,
}

/// Descriptors of a process by what they refer to. All others are files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// TCP connections.
    pub connected: u32,
    /// TCP listeners.
    pub listening: u32,
    /// TCP sockets in CLOSE.
    pub closed: u32,
    /// Sockets of other protocols.
    pub other_sockets: u32,
    /// Established connections on which no data has gone either way for an hour.
    pub idle: u32,
    /// Idle ones without keepalive.
    pub idle_unguarded: u32,
}

bitflags! {
    /// Facts about a socket: the bits of `enum sock_flag`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SockFlags: u16 {
        /// A `struct socket` refers to it: it was accepted, or made by a program.
        const HAS_SOCKET = bit(raw::sock_flag::SOCK_HAS_SOCKET);
        /// That one has a file: a descriptor, or a message, refers to it.
        const HAS_FILE = bit(raw::sock_flag::SOCK_HAS_FILE);
        /// The peer's FIN has arrived.
        const PEER_CLOSED = bit(raw::sock_flag::SOCK_PEER_CLOSED);
        /// It was connected once.
        const CONNECTED = bit(raw::sock_flag::SOCK_CONNECTED);
        /// Its program has closed it; the kernel finishes alone.
        const ORPHAN = bit(raw::sock_flag::SOCK_ORPHAN);
        /// The kernel opened it, for itself or for MPTCP.
        const KERNEL = bit(raw::sock_flag::SOCK_KERNEL);
        /// It carries an MPTCP connection, which owns it.
        const SUBFLOW = bit(raw::sock_flag::SOCK_SUBFLOW);
        /// It is an MPTCP connection, and in no hash table of TCP's.
        const MPTCP = bit(raw::sock_flag::SOCK_MPTCP);
        /// The program has shut down its sending side.
        const SHUT_SEND = bit(raw::sock_flag::SOCK_SHUT_SEND);
        /// The receiving side is shut down, by the program or by a FIN.
        const SHUT_RECEIVE = bit(raw::sock_flag::SOCK_SHUT_RECEIVE);
        /// A listener's child.
        const ACCEPTED = bit(raw::sock_flag::SOCK_ACCEPTED);
        /// It has a local port of its own.
        const BOUND = bit(raw::sock_flag::SOCK_BOUND);
        /// `SO_KEEPALIVE` is set.
        const KEEPALIVE = bit(raw::sock_flag::SOCK_KEEPALIVE);
        /// It retransmits, or probes, and no answer has come.
        const UNANSWERED = bit(raw::sock_flag::SOCK_UNANSWERED);
        /// An io_uring's table of files refers to it.
        const IN_RING = bit(raw::sock_flag::SOCK_IN_RING);
        /// The peer may send less than one segment.
        const WINDOW_CLOSED = bit(raw::sock_flag::SOCK_WINDOW_CLOSED);
        /// Both directions are shut down: a `close()` does that first.
        const SHUT_BOTH = Self::SHUT_SEND.bits() | Self::SHUT_RECEIVE.bits();
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a record has 16 bits for them")]
const fn bit(flag: raw::sock_flag) -> u16 {
    flag.0 as u16
}

impl SockFlags {
    /// No program will ever refer to it: closed already, or the kernel's own.
    pub fn ownerless(self) -> bool {
        // The kernel opens MPTCP's subflows, but on behalf of a program.
        let of_kernel = self.contains(Self::KERNEL) && !self.contains(Self::SUBFLOW);
        self.contains(Self::ORPHAN) || of_kernel
    }

    /// The program reads from an MPTCP connection: what TCP has delivered to that says nothing of
    /// what the program has read.
    pub fn read_by_mptcp(self) -> bool {
        self.intersects(Self::MPTCP | Self::SUBFLOW)
    }
}
