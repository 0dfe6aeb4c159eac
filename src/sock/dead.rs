//! Records of the programs that follow a command: dead sockets, and who closed or holds them.
//!
//! Pure: values in, values out. The sockets in these records are decoded as all others are.

use plain::Plain;

use super::conn::{Conn, Endpoint};
use super::decode::{self, DecodeError, copy, decode};
use super::event::{Pid, Progress, Record, Sock};
use crate::bpf::follow::types as raw;

// Each is `repr(C)`, of integers and arrays of them, and any bytes are a valid value.
#[expect(unsafe_code, reason = "plain's promise, which holds for these types")]
mod promise {
    use super::{Plain, raw};
    unsafe impl Plain for raw::program_record {}
    unsafe impl Plain for raw::gone_record {}
    unsafe impl Plain for raw::dead_record {}
}

/// A record from the kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// A process has executed a program.
    Program(Program),
    /// A process which has closed dead sockets exits.
    Exit(Exit),
    /// A process has closed a dead socket: it was the last that had it.
    Closed(Dead),
    /// A process holds a dead socket.
    Held(Dead),
    /// A dead socket waits in an accept queue.
    Queued(Dead),
    /// A process has this listener open, and its queue is not empty.
    Listener(Dead),
}

/// Names a process for good: its number, and when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its number, in the PID namespace that sockleak runs in; 0 where it is not visible there.
    pub pid: Pid,
    /// When it began: ns, `CLOCK_MONOTONIC`.
    pub start_time: u64,
}

/// The exit of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The process.
    pub process: ProcessId,
    /// When: ns, `CLOCK_MONOTONIC`.
    pub ktime: u64,
    /// How long its leader had waited for a CPU, since it began: ns; 0 if unknown.
    pub waited: u64,
}

/// A program that a process has executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its number: when it was executed.
    pub id: u64,
    /// The program that the process ran before.
    pub before: u64,
    /// Its name, unsanitised.
    pub comm: String,
    /// Its arguments, unsanitised, as many as there was room for.
    pub args: Vec<String>,
}

/// A dead socket in the hands of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Dead {
    /// The process.
    pub process: ProcessId,
    /// The program that it runs.
    pub program: u64,
    /// Its name, unsanitised.
    pub comm: String,
    /// Its effective user.
    pub uid: u32,
    /// When the connection ended; `None` where no event has told.
    pub since: Option<u64>,
    /// How far the program and its peer had come then.
    pub before: Progress,
    /// The connection as it was then.
    pub conn: Conn,
    /// The descriptor, where it is known.
    pub fd: Option<u32>,
    /// The system call in which it was closed, where that is known.
    pub call: Option<Call>,
    /// As [`Exit::waited`], when it was closed.
    pub waited: u64,
    /// It was closed because its last holder exits.
    pub is_by_exit: bool,
    /// It was in an accept queue, and its listener was closed.
    pub is_unaccepted: bool,
    /// The socket as it was when this was recorded.
    pub sock: Sock,
}

/// A system call, with its first two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, of this kernel's architecture.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 2],
}

/// Decodes the record that `bytes` begin with, and says how long it is.
///
/// # Errors
/// Where the bytes are not such a record.
pub fn decode_followed(bytes: &[u8]) -> Result<(Followed, usize), DecodeError> {
    let Some(kind) = bytes.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) else {
        return Err(DecodeError::Short(bytes.len()));
    };
    let kind = raw::follow_kind(kind);
    Ok(match kind {
        raw::follow_kind::FOLLOW_PROGRAM => {
            let (record, len) = copy::<raw::program_record>(bytes)?;
            (Followed::Program(program(&record)), len)
        }
        raw::follow_kind::FOLLOW_EXIT => {
            let (record, len) = copy::<raw::gone_record>(bytes)?;
            let process = ProcessId { pid: record.tgid, start_time: record.start_time };
            let raw::gone_record { ktime, waited, .. } = record;
            (Followed::Exit(Exit { process, ktime, waited }), len)
        }
        raw::follow_kind::FOLLOW_CLOSED => {
            let (dead, len) = dead(bytes)?;
            (Followed::Closed(dead), len)
        }
        raw::follow_kind::FOLLOW_HELD => {
            let (dead, len) = dead(bytes)?;
            (Followed::Held(dead), len)
        }
        raw::follow_kind::FOLLOW_QUEUED => {
            let (dead, len) = dead(bytes)?;
            (Followed::Queued(Dead { is_unaccepted: true, ..dead }), len)
        }
        raw::follow_kind::FOLLOW_LISTENER => {
            let (listener, len) = dead(bytes)?;
            (Followed::Listener(listener), len)
        }
        _ => return Err(DecodeError::Kind(kind.0)),
    })
}

fn program(record: &raw::program_record) -> Program {
    let len = record.args.len().min(record.args_len as usize);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let args = &record.args[..len];
    // Where they are whole, the last one ends with a zero byte, too.
    let args = args.strip_suffix(&[0]).unwrap_or(args);
    Program {
        id: record.program,
        before: record.before,
        comm: decode::comm(&record.comm),
        args: if args.is_empty() {
            Vec::new()
        } else {
            args.split(|&byte| byte == 0).map(text).collect()
        },
    }
}

fn dead(bytes: &[u8]) -> Result<(Dead, usize), DecodeError> {
    let (record, len) = copy::<raw::dead_record>(bytes)?;
    // The socket's record is the last member, as C lays it out.
    let inner = bytes.get(len - size_of::<raw::sock_record>()..len).unwrap_or_default();
    let (Record::Unheld(sock), _) = decode(inner)? else {
        return Err(DecodeError::Kind(record.sock.kind));
    };
    let has = |flag: raw::dead_flag| record.flags & flag.0 != 0;
    let raw::progress { copied_seq, write_seq, snd_una } = record.before;
    let died = &record.conn;
    let call = Call { number: record.call, args: record.args };
    let dead = Dead {
        process: ProcessId { pid: record.tgid, start_time: record.start_time },
        program: record.program,
        comm: decode::comm(&record.comm),
        uid: record.uid,
        since: (record.since != 0).then_some(record.since),
        before: Progress { copied_seq, write_seq, snd_una },
        conn: Conn {
            local: Endpoint::new(died.saddr, died.sport),
            remote: Endpoint::new(died.daddr, died.dport),
            netns: died.netns,
        },
        fd: u32::try_from(record.fd).ok(),
        waited: record.waited,
        call: (record.call >= 0).then_some(call),
        is_by_exit: has(raw::dead_flag::DEAD_EXITING),
        is_unaccepted: has(raw::dead_flag::DEAD_UNACCEPTED),
        sock,
    };
    Ok((dead, len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes<T: Plain>(record: &T) -> &[u8] {
        #[expect(unsafe_code, reason = "the inverse of plain's own promise")]
        unsafe {
            plain::as_bytes(record)
        }
    }

    fn closed() -> raw::dead_record {
        let conn = raw::conn { sport: 80, dport: 4000, netns: 7, ..Default::default() };
        let sock = raw::sock_record { kind: 4, state: 8, conn, ..Default::default() };
        raw::dead_record {
            kind: raw::follow_kind::FOLLOW_CLOSED.0,
            tgid: 42,
            since: 5,
            fd: -1,
            call: 3,
            args: [9, 0],
            flags: 1,
            conn,
            sock,
            ..Default::default()
        }
    }

    #[test]
    fn a_closed_socket_says_who_and_how() {
        let (record, len) = decode_followed(bytes(&closed())).unwrap();
        assert_eq!(len, size_of::<raw::dead_record>());
        let Followed::Closed(dead) = record else { panic!("{record:?}") };
        assert_eq!((dead.process.pid, dead.since, dead.fd), (42, Some(5), None));
        assert_eq!(dead.call, Some(Call { number: 3, args: [9, 0] }));
        assert!(dead.is_by_exit && !dead.is_unaccepted);
        assert_eq!((dead.sock.conn.local.port, dead.conn.remote.port), (80, 4000));
    }

    #[test]
    fn arguments_are_split_and_cut() {
        let mut record = raw::program_record { kind: 1, ..Default::default() };
        let args = |record: &raw::program_record| match decode_followed(bytes(record)).unwrap().0 {
            Followed::Program(program) => program.args,
            other => panic!("{other:?}"),
        };
        assert_eq!(args(&record), [""; 0]);
        record.args[..8].copy_from_slice(b"sh\0-c\0a\0");
        record.args_len = 8;
        assert_eq!(args(&record), ["sh", "-c", "a"]);
        record.args_len = 4;
        assert_eq!(args(&record), ["sh", "-"]);
        record.args_len = u32::MAX;
        assert!(args(&record).len() > 3);
    }

    #[test]
    fn wrong_sizes_and_kinds_are_errors() {
        let record = closed();
        assert_eq!(decode_followed(&[]), Err(DecodeError::Short(0)));
        assert_eq!(decode_followed(&bytes(&record)[..300]), Err(DecodeError::Short(300)));
        assert_eq!(decode_followed(&99_u32.to_ne_bytes()), Err(DecodeError::Kind(99)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(kind in 0u32..8, rest in prop::collection::vec(any::<u8>(), 0..600)) {
            let bytes: Vec<u8> = kind.to_ne_bytes().into_iter().chain(rest).collect();
            if let Ok((_, len)) = decode_followed(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
