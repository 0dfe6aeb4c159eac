//! A row: a socket in the hands of a process, at a moment.

use std::num::NonZeroU64;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::serial::{optional_seconds, seconds};
use crate::live::table::{Table, Tracked};
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::event::{Holder, Pid, Process, SockFlags};
use crate::sock::leak::{Class, Verdict};
use crate::sock::name;
use crate::sock::state::State;

/// The word for sockets without a verdict, where they are counted by verdict.
pub const UNKNOWN_VERDICT: &str = "unknown";
/// A farewell is short: a TLS `close_notify`, an HTTP 408, an FTP 421.
const FAREWELL_BYTES: u32 = 1_024;

/// A socket in the hands of a process. Times are in ns, and print in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SocketRow<'a> {
    /// Where the socket is in the kernel's memory.
    pub sock: SockPtr,
    /// Its cookie (`sk:` in `ss -e`, there in hex), once it has one.
    pub cookie: Option<NonZeroU64>,
    /// The inode of its network namespace.
    pub netns: u32,
    /// `ipv4` or `ipv6`, as the addresses print.
    pub family: &'static str,
    /// Which side made the connection, where that is known.
    pub direction: Option<Direction>,
    /// Our end.
    pub local: Endpoint,
    /// The peer's end.
    pub remote: Endpoint,
    /// Its state.
    pub state: State,
    /// Its class.
    pub class: Class,
    /// Its verdict, if that is known.
    pub verdict: Option<Verdict>,
    /// How many bytes the program has not read, if a scan has looked.
    pub unread_bytes: Option<u32>,
    /// True if these may be the peer's goodbye to an idle connection.
    pub maybe_farewell: bool,
    /// True if these are all that ever came.
    #[serde(skip)]
    pub was_never_read: bool,
    /// How many bytes have come from the peer, if a scan has looked.
    pub bytes_received: Option<u64>,
    /// How many bytes the peer has acknowledged, if a scan has looked.
    pub bytes_acked: Option<u64>,
    /// How long it is in its state; if it was destroyed after its peer had left: since then.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: u64,
    /// How that is known: seen, or a bound from below.
    pub age_is: AgeIs,
    /// The bound from above, where one is known.
    #[serde(rename = "age_at_most_seconds", serialize_with = "optional_seconds")]
    pub age_at_most: Option<u64>,
    /// How long no data has gone either way, if a scan has looked.
    #[serde(rename = "idle_seconds", serialize_with = "optional_seconds")]
    pub idle: Option<u64>,
    /// The holder, in the PID namespace that sockleak runs in.
    pub pid: Option<Pid>,
    /// The holder's name.
    #[serde(serialize_with = "name::serialize_optional")]
    pub comm: Option<&'a str>,
    /// The holder's effective user, as the initial user namespace numbers it.
    pub uid: Option<u32>,
    /// The holder's descriptors for this socket, or for its listener.
    #[serde(rename = "fds", serialize_with = "fds")]
    pub holders: Holders<'a>,
    /// How many more descriptors refer to the socket, or to its listener: of this process or of others.
    #[serde(skip_serializing_if = "is_zero")]
    pub holders_omitted: u32,
    /// How it is held.
    pub ownership: Ownership,
    /// The io_uring of the holder that has the socket in its table: its descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_fd: Option<u32>,
    /// and the place in its table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_slot: Option<u32>,
    /// Another process was seen to hold the socket before this one began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// The socket that the holder shut down for this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
    /// Who holds the other end, if it is on this host, and was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_pid: Option<Pid>,
    /// The name of that process.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name::serialize_optional")]
    pub peer_comm: Option<&'a str>,
}

/// The descriptors of a row, and the processes that they belong to.
#[derive(Clone, Copy, Debug)]
pub struct Holders<'a> {
    table: &'a Table,
    pid: Option<Pid>,
    /// Descriptors of the row's process; for a connection in an accept queue, those of all processes
    /// that hold its listener.
    all: &'a [Holder],
}

/// Which side made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The peer: a listener's child.
    Accepted,
    /// Our side.
    Connected,
}

impl Direction {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Connected => "connected",
        }
    }
}

/// How an age is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgeIs {
    /// The transition was seen.
    Exact,
    /// The socket was there first: a bound from the connection's own timestamps.
    AtLeast,
}

impl AgeIs {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AtLeast => "at-least",
        }
    }
}

/// How a socket is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// A process has it open.
    Held,
    /// It waits in the accept queue of a listener that a process has open.
    Listener,
    /// No program will ever refer to it.
    Kernel,
    /// Nobody was found; a descriptor in flight between two processes is one reason.
    Unknown,
}

/// How long the oldest of some rows has lasted: see [`SocketRow::lasting`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oldest {
    /// In ns.
    pub lasting: u64,
    /// True if that is a bound from below.
    pub at_least: bool,
}

/// The other side of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Relay {
    /// Where its socket is in the kernel's memory.
    pub sock: SockPtr,
    /// Our end of it.
    pub local: Endpoint,
    /// The end that does not close.
    pub remote: Endpoint,
}

impl SocketRow<'_> {
    /// Returns true if idleness counts, and not how long the socket is in its state.
    pub fn is_by_idleness(&self) -> bool {
        is_by_idleness(self.state, self.verdict)
    }

    /// The word under which it is counted.
    pub fn verdict_name(&self) -> &'static str {
        self.verdict.map_or(UNKNOWN_VERDICT, Verdict::name)
    }

    /// The length of time that counts: the one that is shown, sorted by, and filtered by.
    pub fn lasting(&self) -> u64 {
        if self.is_by_idleness() { self.idle.unwrap_or(0) } else { self.age }
    }
}

/// Returns true if idleness counts, as it does for connections that are not over.
pub(super) fn is_by_idleness(state: State, verdict: Option<Verdict>) -> bool {
    state == State::Established || verdict.is_some_and(Verdict::is_by_idleness)
}

impl<'a> Holders<'a> {
    /// These descriptors, the row being that of this process.
    pub(super) fn new(table: &'a Table, pid: Option<Pid>, all: &'a [Holder]) -> Self {
        Self { table, pid, all }
    }

    /// The descriptors of the row's own process.
    pub fn fds(&self) -> impl Iterator<Item = u32> + use<'a> {
        let pid = self.pid;
        let own = self.all.iter().filter(move |holder| Some(holder.pid) == pid);
        own.filter(|holder| holder.slot.is_none()).map(|holder| holder.fd)
    }

    /// The place in an io_uring's table through which the row's own process holds the socket.
    pub(super) fn in_ring(&self) -> Option<Holder> {
        let own = self.all.iter().filter(|holder| Some(holder.pid) == self.pid);
        own.copied().find(|holder| holder.slot.is_some())
    }

    /// Every process that these descriptors belong to, each as often as it has descriptors.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, Option<&'a Process>)> + use<'a> {
        let table = self.table;
        self.all.iter().map(move |holder| (holder.pid, table.process(holder.pid)))
    }
}

/// Returns true if the program has read nothing of what came.
pub(super) fn was_never_read(tracked: &Tracked) -> bool {
    let unread = tracked.unread_bytes().map_or(0, u64::from);
    unread > 0 && unread == tracked.data_received()
}

/// How a socket is held, by this process.
pub(super) fn ownership(tracked: &Tracked, pid: Option<Pid>) -> Ownership {
    match (pid, tracked.listener) {
        (Some(_), None) => Ownership::Held,
        (Some(_), Some(_)) => Ownership::Listener,
        (None, _) if tracked.ownerless() => Ownership::Kernel,
        (None, _) => Ownership::Unknown,
    }
}

/// Which side made a connection, where there is proof.
pub(crate) fn direction(state: State, flags: SockFlags, is_queued: bool) -> Option<Direction> {
    if is_queued || flags.contains(SockFlags::CONNECTED | SockFlags::ACCEPTED) {
        Some(Direction::Accepted)
    } else if flags.contains(SockFlags::CONNECTED) || state == State::SynSent {
        Some(Direction::Connected)
    } else {
        None
    }
}

/// Returns true if the unread bytes may be a peer's goodbye: few, and not all that ever came.
pub(super) fn maybe_farewell(tracked: &Tracked, verdict: Option<Verdict>) -> bool {
    let few = tracked.unread_bytes().filter(|&bytes| bytes <= FAREWELL_BYTES);
    verdict == Some(Verdict::DataUnread)
        && few.is_some_and(|bytes| u64::from(bytes) < tracked.data_received())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn fds<S: Serializer>(holders: &Holders<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(None)?;
    holders.fds().try_for_each(|fd| seq.serialize_element(&fd))?;
    seq.end()
}
