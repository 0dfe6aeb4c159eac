//! Class and verdict of a socket. This is the one place that decides what a leak is.
//!
//! [`is_candidate`] names every socket that can have a verdict. `src/bpf/candidate.h` has its twin,
//! which keeps all others in the kernel: the predicates have the same names there. [`judge`] then
//! decides by what is known of one.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::event::SockFlags;
use super::state::State;

/// Class of a socket: what a person would say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The connection is over, and the program does nothing with what is left of it.
    Leaked,
    /// The connection is not over, but nothing happens on it, or somebody else is to blame.
    Stranded,
    /// All others.
    InUse,
}

impl Class {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Stranded => "stranded",
            Self::InUse => "in-use",
        }
    }
}

/// Verdict on a socket: what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The program has read end-of-file.
    EofRead,
    /// The program has read everything but end-of-file.
    EofUnread,
    /// Data waits to be read, and nobody reads.
    DataUnread,
    /// The peer has gone before the program accepted the connection.
    NeverAccepted,
    /// The connection was destroyed, and an error waits to be fetched.
    Reset,
    /// The connection has ended, and the program was told.
    Dead,
    /// The peer has shut down its side, and the program still sends.
    HalfClosed,
    /// The peer has finished, and the program still reads.
    Draining,
    /// A local port is kept on purpose.
    Reserved,
    /// The peer has finished, and takes nothing of what the program sent.
    Unsent,
    /// The program has passed the peer's end-of-file on to another connection, and waits for that.
    Relayed,
    /// The program has shut down its side, and the peer does not answer that.
    HalfShut,
    /// The receive window is full, and nobody reads.
    Stalled,
    /// The peer acknowledges nothing.
    Unanswered,
    /// The program does not accept the connection.
    Unaccepted,
    /// A `connect()` failed, or the connection was dissolved.
    ConnectFailed,
    /// A socket was made, and nothing more.
    Unconnected,
}

impl Verdict {
    /// Every verdict: the leaked ones first, those in use last.
    pub const ALL: [Self; 17] = [
        Self::EofRead,
        Self::EofUnread,
        Self::DataUnread,
        Self::NeverAccepted,
        Self::Reset,
        Self::Dead,
        Self::Unsent,
        Self::Relayed,
        Self::HalfShut,
        Self::Stalled,
        Self::Unanswered,
        Self::Unaccepted,
        Self::ConnectFailed,
        Self::Unconnected,
        Self::HalfClosed,
        Self::Draining,
        Self::Reserved,
    ];

    /// The class of sockets with this verdict.
    pub fn class(self) -> Class {
        match self {
            Self::EofRead
            | Self::EofUnread
            | Self::DataUnread
            | Self::NeverAccepted
            | Self::Reset
            | Self::Dead => Class::Leaked,
            Self::Unsent
            | Self::Relayed
            | Self::HalfShut
            | Self::Stalled
            | Self::Unanswered
            | Self::Unaccepted
            | Self::ConnectFailed
            | Self::Unconnected => Class::Stranded,
            Self::HalfClosed | Self::Draining | Self::Reserved => Class::InUse,
        }
    }

    /// Returns true if it depends on how long nothing has happened.
    pub fn is_by_idleness(self) -> bool {
        matches!(
            self,
            Self::Unsent | Self::HalfShut | Self::Stalled | Self::Unanswered | Self::Unaccepted
        )
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EofRead => "eof-read",
            Self::EofUnread => "eof-unread",
            Self::DataUnread => "data-unread",
            Self::NeverAccepted => "never-accepted",
            Self::Reset => "reset",
            Self::Dead => "dead",
            Self::HalfClosed => "half-closed",
            Self::Draining => "draining",
            Self::Reserved => "reserved",
            Self::Unsent => "unsent",
            Self::Relayed => "relayed",
            Self::HalfShut => "half-shut",
            Self::Stalled => "stalled",
            Self::Unanswered => "unanswered",
            Self::Unaccepted => "unaccepted",
            Self::ConnectFailed => "connect-failed",
            Self::Unconnected => "unconnected",
        }
    }

    /// The same in a plain sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::EofRead => "the program read end-of-file and forgot to close",
            Self::EofUnread => "the peer left and the program has not looked",
            Self::DataUnread => "the peer left data, and the program does not read it",
            Self::NeverAccepted => "the peer left before the program accepted the connection",
            Self::Reset => "the connection was reset, and the program has not fetched the error",
            Self::Dead => "the connection has ended, and the program kept its descriptor",
            Self::HalfClosed => "the peer has shut down its side, and the program still sends",
            Self::Draining => "the peer has finished, and the program still reads",
            Self::Reserved => "a local port is kept, and nothing is connected to it",
            Self::Unsent => "the peer has finished, and does not take what the program sent",
            Self::Relayed => "the program passed the end-of-file on, and waits for the other side",
            Self::HalfShut => "the program shut down its side, and the peer does not close",
            Self::Stalled => "the receive window is full, and the program does not read",
            Self::Unanswered => "the peer acknowledges nothing: it is gone without a word",
            Self::Unaccepted => "the connection waits to be accepted, and nobody accepts it",
            Self::ConnectFailed => "a connect() failed, and the program kept the socket",
            Self::Unconnected => "the program made a socket, and nothing more",
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

/// Returns true if a socket can have a verdict. MPTCP keeps a subflow that has ended, and sends
/// again on another what one does not deliver: of subflows, only the states between these count.
pub fn is_candidate(state: State, flags: SockFlags, unread: u32) -> bool {
    let is_subflow = flags.contains(SockFlags::SUBFLOW);
    match state {
        State::Close => !is_subflow,
        State::Established if is_subflow => false,
        State::Established => {
            is_full(flags, unread) || is_unanswered(flags) || is_unaccepted(flags)
        }
        _ => is_over(state) || is_half_shut(state, flags),
    }
}

/// The peer has finished, or the connection is no more, or never was.
pub fn is_over(state: State) -> bool {
    matches!(state, State::CloseWait | State::Close)
}

/// The program has shut down its sending side, and can still close.
pub fn is_half_shut(state: State, flags: SockFlags) -> bool {
    let shut = matches!(state, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck);
    shut && !flags.ownerless()
}

/// It belongs to a listener: `accept()` has not given it a `struct socket` yet. (Other sockets
/// without one are closed, or carry MPTCP.)
pub fn is_unaccepted(flags: SockFlags) -> bool {
    flags.contains(SockFlags::CONNECTED)
        && !flags.intersects(SockFlags::HAS_SOCKET | SockFlags::SUBFLOW)
        && !flags.ownerless()
}

/// Data waits, and the peer may not even send one segment more.
pub fn is_full(flags: SockFlags, unread: u32) -> bool {
    unread > 0 && flags.contains(SockFlags::WINDOW_CLOSED)
}

/// Something was sent, again and again, and no answer has come.
pub fn is_unanswered(flags: SockFlags) -> bool {
    flags.contains(SockFlags::UNANSWERED)
}

/// Facts about a socket when it is judged. Lengths of time are in ns.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its state.
    pub state: State,
    /// More about it.
    pub flags: SockFlags,
    /// The pending errno, 0 for none.
    pub err: u16,
    /// Its local port, or the one that it had; 0 if it never had one.
    pub local_port: u16,
    /// The peer's port; 0 where there is no peer.
    pub remote_port: u16,
    /// `rcv_nxt - copied_seq`: unread bytes, and one for an unread FIN. `None` where no scan has
    /// read it.
    pub unread: Option<u32>,
    /// A listener was seen with it in its accept queue.
    pub is_queued: bool,
    /// The peer has not acknowledged everything.
    pub has_unsent: bool,
    /// Its holder has passed the peer's end-of-file on.
    pub is_relayed: bool,
    /// How long ago the program was last seen to read; `None` if it never was.
    pub read_ago: Option<u64>,
    /// How long ago the program, or what it sent, was last seen to advance; likewise.
    pub sent_ago: Option<u64>,
    /// For how long nothing that was sent has been acknowledged, at least.
    pub unacknowledged_for: u64,
    /// For how long no answer of any kind has come.
    pub unanswered_for: u64,
    /// For how long no data has come.
    pub received_ago: u64,
    /// For how long nothing was read, received or sent.
    pub untouched_for: u64,
    /// For how long it has been connected, at least.
    pub connected_for: u64,
}

/// The class of a socket, and its verdict where there is proof of one.
pub type Judgement = (Class, Option<Verdict>);

/// Judges a socket; nothing counts as idle that has moved for less than `idle` ns.
pub fn judge(facts: &Facts, idle: u64) -> Judgement {
    let Facts { state, flags, .. } = *facts;
    let waits = facts.is_queued || is_unaccepted(flags);
    match state {
        State::CloseWait | State::Close if waits => of(Verdict::NeverAccepted),
        // TCP does not know what the program has read of an MPTCP connection.
        State::CloseWait if flags.read_by_mptcp() => (Class::Leaked, None),
        State::CloseWait => of_close_wait(facts, idle),
        State::Close if flags.contains(SockFlags::MPTCP) => match facts.is_after_the_end() {
            true => (Class::Leaked, None),
            false => (Class::InUse, None),
        },
        State::Close => of_close(facts, idle),
        State::Established if waits => after(facts.connected_for, idle, Verdict::Unaccepted),
        State::Established => of_established(facts, idle),
        _ if is_half_shut(state, flags) && flags.read_by_mptcp() => (Class::InUse, None),
        _ if is_half_shut(state, flags) && facts.is_sending(idle) => (Class::InUse, None),
        _ if is_half_shut(state, flags) => after(facts.received_ago, idle, Verdict::HalfShut),
        _ => (Class::InUse, None),
    }
}

impl Facts {
    /// Returns true if an MPTCP connection in CLOSE was one: the peer's end-of-file proves it, or that
    /// one of its subflows was connected. `connect(AF_UNSPEC)` opens both directions again.
    fn is_after_the_end(&self) -> bool {
        let was_connected = self.flags.contains(SockFlags::CONNECTED) && self.remote_port != 0;
        let is_shut = self.flags.intersects(SockFlags::SHUT_BOTH);
        self.flags.contains(SockFlags::PEER_CLOSED) || was_connected && is_shut
    }

    /// Returns true if data waits, besides the peer's FIN.
    fn has_unread_data(&self) -> bool {
        let fin = u32::from(self.flags.contains(SockFlags::PEER_CLOSED));
        self.unread.is_some_and(|unread| unread > fin)
    }

    /// Returns true if the peer still takes what the program has sent: a slow upload goes on after the
    /// `shutdown()` that ends it.
    fn is_sending(&self, idle: u64) -> bool {
        is_lately(self.sent_ago, idle) || self.has_unsent && self.unacknowledged_for < idle
    }

    fn is_read(&self, idle: u64) -> bool {
        self.has_unread_data() && is_lately(self.read_ago, idle)
    }
}

fn of(verdict: Verdict) -> Judgement {
    (verdict.class(), Some(verdict))
}

/// Judges by a verdict that counts only once nothing has happened for `idle`.
fn after(still_for: u64, idle: u64, verdict: Verdict) -> Judgement {
    if still_for >= idle { of(verdict) } else { (Class::InUse, None) }
}

fn is_lately(ago: Option<u64>, idle: u64) -> bool {
    ago.is_some_and(|ago| ago < idle)
}

fn of_close_wait(facts: &Facts, idle: u64) -> Judgement {
    if is_lately(facts.sent_ago, idle) {
        return of(Verdict::HalfClosed);
    }
    if facts.has_unsent {
        let stuck = facts.unacknowledged_for >= idle;
        return of(if stuck { Verdict::Unsent } else { Verdict::HalfClosed });
    }
    if facts.is_read(idle) {
        return of(Verdict::Draining);
    }
    match facts.unread {
        None => (Class::Leaked, None),
        Some(2..) => of(Verdict::DataUnread),
        Some(_) if facts.is_relayed => of(Verdict::Relayed),
        Some(1) => of(Verdict::EofUnread),
        Some(_) => of(Verdict::EofRead),
    }
}

fn of_close(facts: &Facts, idle: u64) -> Judgement {
    let Facts { flags, err, local_port, remote_port, .. } = *facts;
    // Both outlive the connection; `connect(AF_UNSPEC)` takes the second away.
    if flags.contains(SockFlags::CONNECTED) && remote_port != 0 {
        return match err {
            0 if facts.is_read(idle) => of(Verdict::Draining),
            0 => of(Verdict::Dead),
            _ => of(Verdict::Reset),
        };
    }
    if flags.contains(SockFlags::BOUND) {
        of(Verdict::Reserved)
    } else if local_port == 0 {
        of(Verdict::Unconnected)
    } else if flags.contains(SockFlags::ACCEPTED) && !flags.contains(SockFlags::CONNECTED) {
        // A listener that was shut down has kept its backlog.
        (Class::InUse, None)
    } else {
        of(Verdict::ConnectFailed)
    }
}

fn of_established(facts: &Facts, idle: u64) -> Judgement {
    let Facts { flags, unread, .. } = *facts;
    if flags.read_by_mptcp() {
        return (Class::InUse, None);
    }
    if is_full(flags, unread.unwrap_or(0)) && facts.untouched_for >= idle {
        return of(Verdict::Stalled);
    }
    if is_unanswered(flags) {
        return after(facts.unanswered_for, idle, Verdict::Unanswered);
    }
    (Class::InUse, None)
}

#[cfg(test)]
mod tests;
