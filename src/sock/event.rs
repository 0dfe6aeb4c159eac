//! Bytes from the kernel, decoded. Pure: no libbpf, no privilege, no panic.

use std::num::NonZeroU64;

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
    unsafe impl Plain for raw::netns_record {}
}

/// A process, as seen in the PID namespace that sockleak runs in.
pub type Pid = u32;

/// What the kernel reports.
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
}

/// A process and the descriptor through which it holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The process.
    pub pid: Pid,
    /// The descriptor.
    pub fd: u32,
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
    /// What the socket was like at that moment.
    pub flags: SockFlags,
    /// The pending errno, 0 for none.
    pub err: u16,
    /// The task that made it, where the task that ran is the one that made it.
    pub actor: Option<Actor>,
}

impl Transition {
    /// Whether the connection was destroyed after its peer had left, in the program's hands or
    /// under them.
    pub fn was_reset(&self) -> bool {
        (self.old, self.new) == (State::CloseWait, State::Close)
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
    /// `rcv_nxt - copied_seq`: unread bytes, and one for an unread FIN.
    pub unread: u32,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name, unsanitised.
    pub comm: String,
    /// Its effective user, as the initial user namespace numbers it.
    pub uid: u32,
    /// How many descriptors it has open.
    pub open_fds: u32,
    /// How many it may have open: the soft `RLIMIT_NOFILE`.
    pub fd_limit: u64,
}

/// The bits of `enum sock_flag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockFlags(pub u16);

impl SockFlags {
    fn has(self, flag: raw::sock_flag) -> bool {
        u32::from(self.0) & flag.0 != 0
    }

    /// It was accepted, or made by a program.
    pub fn has_socket(self) -> bool {
        self.has(raw::sock_flag::SOCK_HAS_SOCKET)
    }

    /// Some descriptor refers to it, though perhaps one in flight.
    pub fn has_file(self) -> bool {
        self.has(raw::sock_flag::SOCK_HAS_FILE)
    }

    /// The peer's FIN has arrived.
    pub fn peer_closed(self) -> bool {
        self.has(raw::sock_flag::SOCK_PEER_CLOSED)
    }

    /// It was connected once.
    pub fn connected(self) -> bool {
        self.has(raw::sock_flag::SOCK_CONNECTED)
    }

    /// No program will ever refer to it: closed already, or the kernel's own.
    pub fn ownerless(self) -> bool {
        let kernel = self.has(raw::sock_flag::SOCK_KERNEL);
        // The kernel opens MPTCP's subflows, but on behalf of a program.
        let subflow = self.has(raw::sock_flag::SOCK_SUBFLOW);
        self.has(raw::sock_flag::SOCK_ORPHAN) || kernel && !subflow
    }

    /// The program reads from an MPTCP connection: what TCP has delivered to that says nothing of
    /// what the program has read.
    pub fn read_by_mptcp(self) -> bool {
        self.is_mptcp() || self.has(raw::sock_flag::SOCK_SUBFLOW)
    }

    /// It is an MPTCP connection, and on no list of TCP's.
    pub fn is_mptcp(self) -> bool {
        self.has(raw::sock_flag::SOCK_MPTCP)
    }

    /// Its program has closed it.
    pub fn orphan(self) -> bool {
        self.has(raw::sock_flag::SOCK_ORPHAN)
    }

    /// Both directions are shut down: the program is closing it.
    pub fn shut_both(self) -> bool {
        self.has(raw::sock_flag::SOCK_SHUT_BOTH)
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
            (Record::Held(Holder { pid: record.tgid, fd: record.fd }, sock(&record)?), len)
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
            (Record::Listener(Holder { pid: record.tgid, fd: record.fd }, listener), len)
        }
        raw::record_kind::RECORD_PROCESS => {
            let (record, len) = copy::<raw::process_record>(bytes)?;
            let process = Process {
                comm: comm(&record.comm),
                uid: record.uid,
                open_fds: record.open_fds,
                fd_limit: record.fd_limit,
            };
            (Record::Process(record.tgid, process), len)
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
        flags: SockFlags(record.sock_flags),
        err: record.err,
        actor: has(raw::transition_flag::ACTOR).then(|| Actor {
            pid: (record.tgid != 0).then_some(record.tgid),
            comm: comm(&record.comm),
            exiting: has(raw::transition_flag::ACTOR_EXITING),
        }),
    })
}

fn sock(record: &raw::sock_record) -> Result<Sock, DecodeError> {
    Ok(Sock {
        sock: SockPtr(record.sock),
        conn: conn(&record.conn),
        cookie: cookie(&record.conn),
        state: state(record.state)?,
        flags: SockFlags(record.flags),
        unread: record.unread,
        err: record.err,
        stamps: Stamps {
            ktime: record.ktime,
            jiffies: record.jiffies,
            mstamp: record.mstamp,
            rcv_tstamp: record.rcv_tstamp,
            lrcvtime: record.lrcvtime,
            lsndtime: record.lsndtime,
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
        assert_eq!(holder, Holder { pid: 42, fd: 5 });
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
        assert_eq!(decode(&bytes(&raw)[..119]), Err(DecodeError::Short(119)));
        raw.state = 13;
        assert_eq!(decode(bytes(&raw)), Err(DecodeError::State(13)));
        raw.kind = 99;
        assert_eq!(decode(bytes(&raw)), Err(DecodeError::Kind(99)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(kind in 0u32..8, rest in prop::collection::vec(any::<u8>(), 0..160)) {
            let bytes: Vec<u8> = kind.to_ne_bytes().into_iter().chain(rest).collect();
            if let Ok((_, len)) = decode(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
