//! Bytes from the kernel, decoded. Pure: no libbpf, no privilege, no panic.

use std::num::NonZeroU64;

use bitflags::bitflags;
use plain::Plain;
use thiserror::Error;

use crate::bpf::types as raw;
use crate::sock::conn::{Conn, Endpoint, SockPtr};
use crate::sock::state::State;

// Each is `repr(C)`, of integers and arrays of them, and any bytes are a valid value.
#[expect(unsafe_code, reason = "plain's promise, which holds for these types")]
mod promise {
    use super::{Plain, raw};
    unsafe impl Plain for raw::transition_record {}
    unsafe impl Plain for raw::sock_record {}
    unsafe impl Plain for raw::listener_record {}
    unsafe impl Plain for raw::process_record {}
    unsafe impl Plain for raw::same_files_record {}
    unsafe impl Plain for raw::exit_record {}
    unsafe impl Plain for raw::netns_record {}
    unsafe impl Plain for raw::table_walk {}
}

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

/// Why bytes are no record. It concerns one record, not the stream's reader: count it and go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record needs.
    #[error("a record of {0} bytes is too short")]
    Short(usize),
    /// No such kind of record.
    #[error("unknown kind of record: {0}")]
    Kind(u32),
    /// No such TCP state.
    #[error("unknown TCP state: {0}")]
    State(u8),
}

/// Decodes the record that `bytes` begin with, and says how long it is.
///
/// # Errors
/// Where the bytes are not such a record. [`DecodeError::State`] alone leaves the length
/// known; it is the caller's choice to give up on the rest.
pub fn decode(bytes: &[u8]) -> Result<(Record, usize), DecodeError> {
    let Some(kind) = bytes.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) else {
        return Err(DecodeError::Short(bytes.len()));
    };
    let kind = raw::record_kind(kind);
    Ok(match kind {
        raw::record_kind::RECORD_TRANSITION => {
            let (record, len) = copy::<raw::transition_record>(bytes)?;
            (Record::Transition(transition(&record)?), len)
        }
        raw::record_kind::RECORD_HELD => {
            let (record, len) = copy::<raw::sock_record>(bytes)?;
            (Record::Held(holder(&record), sock(&record)?), len)
        }
        raw::record_kind::RECORD_QUEUED => {
            let (record, len) = copy::<raw::sock_record>(bytes)?;
            (Record::Queued(SockPtr(record.listener), sock(&record)?), len)
        }
        raw::record_kind::RECORD_UNHELD => {
            let (record, len) = copy::<raw::sock_record>(bytes)?;
            (Record::Unheld(sock(&record)?), len)
        }
        raw::record_kind::RECORD_LISTENER => {
            let (record, len) = copy::<raw::listener_record>(bytes)?;
            let listener = Listener {
                sock: SockPtr(record.sock),
                conn: conn(&record.conn),
                backlog: record.backlog,
                max_backlog: record.max_backlog,
            };
            (Record::Listener(Holder::at(record.tgid, record.fd), listener), len)
        }
        raw::record_kind::RECORD_PROCESS => {
            let (record, len) = copy::<raw::process_record>(bytes)?;
            let process = process(&record);
            (Record::Process(record.tgid, process), len)
        }
        raw::record_kind::RECORD_SAME_FILES => {
            let (record, len) = copy::<raw::same_files_record>(bytes)?;
            (Record::SameFiles(record.tgid, record.r#as), len)
        }
        raw::record_kind::RECORD_EXIT => {
            let (record, len) = copy::<raw::exit_record>(bytes)?;
            (Record::Exit(record.tgid, record.start_time), len)
        }
        _ => return Err(DecodeError::Kind(kind.0)),
    })
}

/// Copies, because an iterator's output is not aligned.
fn copy<T: Plain + Default>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    let mut record = T::default();
    record.copy_from_bytes(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    Ok((record, size_of::<T>()))
}

fn state(number: u8) -> Result<State, DecodeError> {
    State::from_kernel(number).ok_or(DecodeError::State(number))
}

/// A change of state, as the programs write it.
///
/// # Errors
/// Where it is of states that no kernel knows.
pub fn transition(record: &raw::transition_record) -> Result<Transition, DecodeError> {
    let has = |flag: raw::transition_flag| u32::from(record.flags) & flag.0 != 0;
    Ok(Transition {
        ktime: record.ktime,
        sock: SockPtr(record.sock),
        conn: conn(&record.conn),
        cookie: cookie(&record.conn),
        old: state(record.oldstate)?,
        new: state(record.newstate)?,
        flags: SockFlags::from_bits_retain(record.sock_flags),
        progress: progress(&record.progress),
        err: record.err,
        actor: has(raw::transition_flag::ACTOR).then(|| Actor {
            pid: (record.tgid != 0).then_some(record.tgid),
            comm: comm(&record.comm),
            exiting: has(raw::transition_flag::ACTOR_EXITING),
        }),
    })
}

fn holder(record: &raw::sock_record) -> Holder {
    let in_ring = SockFlags::from_bits_retain(record.flags).contains(SockFlags::IN_RING);
    Holder { pid: record.tgid, fd: record.fd, slot: in_ring.then_some(record.slot) }
}

fn process(record: &raw::process_record) -> Process {
    Process {
        comm: comm(&record.comm),
        uid: record.uid,
        start_time: record.start_time,
        stopped: record.flags & raw::process_flag::PROCESS_STOPPED.0 != 0,
        fd_limit: record.fd_limit,
        open_fds: record.open_fds,
        descriptors: Descriptors {
            connected: record.connected,
            listening: record.listening,
            closed: record.closed,
            other_sockets: record.other_sockets,
            idle: record.idle,
            idle_unguarded: record.idle_unguarded,
        },
    }
}

fn progress(progress: &raw::progress) -> Progress {
    let raw::progress { copied_seq, write_seq, snd_una } = *progress;
    Progress { copied_seq, write_seq, snd_una }
}

fn sock(record: &raw::sock_record) -> Result<Sock, DecodeError> {
    Ok(Sock {
        sock: SockPtr(record.sock),
        conn: conn(&record.conn),
        cookie: cookie(&record.conn),
        state: state(record.state)?,
        // The holder tells whether it is in a ring.
        flags: SockFlags::from_bits_retain(record.flags) - SockFlags::IN_RING,
        progress: progress(&record.progress),
        unread: record.unread,
        bytes_received: record.bytes_received,
        bytes_acked: record.bytes_acked,
        err: record.err,
        stamps: Stamps {
            ktime: record.ktime,
            jiffies: record.jiffies,
            mstamp: record.mstamp,
            rcv_tstamp: record.rcv_tstamp,
            lrcvtime: record.lrcvtime,
            lsndtime: record.lsndtime,
            probing_since: record.probing_since,
            read_mstamp: record.read_mstamp,
        },
    })
}

fn conn(conn: &raw::conn) -> Conn {
    Conn {
        local: Endpoint::new(conn.saddr, conn.sport),
        remote: Endpoint::new(conn.daddr, conn.dport),
        netns: conn.netns,
    }
}

fn cookie(conn: &raw::conn) -> Option<NonZeroU64> {
    NonZeroU64::new(conn.cookie)
}

/// A task's name may be any bytes but 0; what is not UTF-8 becomes U+FFFD.
fn comm(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held() -> raw::sock_record {
        let mut conn = raw::conn { sport: 9005, dport: 48814, netns: 77, ..Default::default() };
        conn.saddr[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        conn.daddr = conn.saddr;
        raw::sock_record {
            kind: raw::record_kind::RECORD_HELD.0,
            tgid: 42,
            sock: 0xffff_8881_4ee6_2500,
            fd: 5,
            state: 8,
            unread: 6,
            conn,
            ..Default::default()
        }
    }

    fn bytes<T: Plain>(record: &T) -> &[u8] {
        // Records have no implicit padding: their sizes are asserted in the header.
        #[expect(unsafe_code, reason = "the inverse of plain's own promise")]
        unsafe {
            plain::as_bytes(record)
        }
    }

    #[test]
    fn a_held_socket_says_who_and_which() {
        let (record, len) = decode(bytes(&held())).unwrap();
        assert_eq!(len, size_of::<raw::sock_record>());
        let Record::Held(holder, sock) = record else { panic!("{record:?}") };
        assert_eq!(holder, Holder::at(42, 5));
        assert_eq!(sock.conn.local.to_string(), "127.0.0.1:9005");
        assert_eq!(sock.conn.remote.to_string(), "127.0.0.1:48814");
        assert_eq!((sock.state, sock.unread, sock.cookie), (State::CloseWait, 6, None));
    }

    #[test]
    fn an_actor_is_told_only_where_there_is_one() {
        let mut raw = raw::transition_record {
            kind: raw::record_kind::RECORD_TRANSITION.0,
            tgid: 7,
            oldstate: 8,
            newstate: 9,
            ..Default::default()
        };
        raw.comm[..3].copy_from_slice(b"a\xffb");
        let actor = |raw: &raw::transition_record| match decode(bytes(raw)).unwrap().0 {
            Record::Transition(transition) => transition.actor,
            other => panic!("{other:?}"),
        };
        assert_eq!(actor(&raw), None);
        raw.flags = 3;
        let comm = "a\u{fffd}b".to_owned();
        assert_eq!(actor(&raw), Some(Actor { pid: Some(7), comm, exiting: true }));
    }

    #[test]
    fn wrong_sizes_kinds_and_states_are_errors() {
        let mut raw = held();
        assert_eq!(decode(&[]), Err(DecodeError::Short(0)));
        assert_eq!(decode(&bytes(&raw)[..167]), Err(DecodeError::Short(167)));
        raw.state = 13;
        assert_eq!(decode(bytes(&raw)), Err(DecodeError::State(13)));
        raw.kind = 99;
        assert_eq!(decode(bytes(&raw)), Err(DecodeError::Kind(99)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(kind in 0u32..8, rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes: Vec<u8> = kind.to_ne_bytes().into_iter().chain(rest).collect();
            if let Ok((_, len)) = decode(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
