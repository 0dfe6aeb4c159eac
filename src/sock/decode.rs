//! Bytes from the kernel, decoded. Pure: no libbpf, no privilege, no panic.

use std::num::NonZeroU64;

use plain::Plain;
use thiserror::Error;

use super::event::{
    Actor, Descriptors, Holder, Listener, Process, Progress, Record, Sock, SockFlags, Stamps,
    Transition,
};
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
pub(super) fn copy<T: Plain + Default>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
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
        start_boottime: record.start_boottime,
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
pub(super) fn comm(bytes: &[u8]) -> String {
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
