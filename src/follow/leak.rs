//! A leaked socket of a command: its verdict, and how it ended.

use serde::{Serialize, Serializer};

use crate::host::identity::{Identity, Known};
use crate::report::filter::Filter;
use crate::report::row::{Direction, direction};
use crate::report::serial::{optional_seconds, seconds};
use crate::sock::age::{self, Tick};
use crate::sock::conn::{Conn, Endpoint, SockPtr};
use crate::sock::dead::Dead;
use crate::sock::event::{Pid, SockFlags};
use crate::sock::leak::{Class, Facts, Judgement, Verdict, judge};
use crate::sock::name;
use crate::sock::state::State;

/// How a leaked socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The kernel closed it, as its last holder exited, was killed, or executed another program.
    AtExit,
    /// Its process closed it in its last moments.
    AtTeardown,
    /// A survivor holds it.
    StillHeld,
    /// Its process closed it and lived on.
    Late,
}

impl Ended {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AtExit => "at-exit",
            Self::AtTeardown => "at-teardown",
            Self::StillHeld => "still-held",
            Self::Late => "late",
        }
    }
}

/// A leaked socket in the hands of a process. Times are in ns, and print in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Leak {
    /// How it ended.
    pub ended: Ended,
    /// How long before its process's exit it was closed, without the time for which that waited for a CPU.
    #[serde(rename = "closed_before_exit_seconds", serialize_with = "optional_seconds")]
    pub before_exit: Option<u64>,
    /// The process executed another program, and the socket was marked close-on-exec.
    pub by_exec: bool,
    /// How long it was dead.
    #[serde(rename = "dead_seconds", serialize_with = "seconds")]
    pub dead_for: u64,
    /// The process, in the PID namespace that sockleak runs in; 0 where it is not visible there.
    pub pid: Pid,
    /// Its name, unsanitised.
    #[serde(serialize_with = "name::serialize")]
    pub comm: String,
    /// Its arguments when it executed its program; as many as were noted.
    #[serde(serialize_with = "all_sanitised")]
    pub args: Vec<String>,
    /// Its effective user.
    pub uid: u32,
    /// Its descriptors, as far as they are known.
    pub fds: Vec<u32>,
    /// Where the socket was in the kernel's memory.
    pub sock: SockPtr,
    /// Its cookie, if it had one.
    pub cookie: Option<u64>,
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
    /// Its state before it was closed.
    pub state: State,
    /// Its class.
    pub class: Class,
    /// Its verdict.
    pub verdict: Option<Verdict>,
    /// How many bytes the program has not read.
    pub unread_bytes: u32,
}

impl Leak {
    /// A socket, judged, in the hands of a process with these arguments.
    pub fn new(dead: &Dead, judgement: Judgement, tick: Tick) -> Self {
        let (class, verdict) = judgement;
        let Conn { local, remote, netns } = conn(dead);
        let fin =
            u32::from(dead.sock.flags.contains(SockFlags::PEER_CLOSED) && dead.sock.unread > 0);
        Self {
            ended: Ended::Late,
            before_exit: None,
            by_exec: false,
            dead_for: dead_for(dead, tick),
            pid: dead.process.pid,
            comm: dead.comm.clone(),
            args: Vec::new(),
            uid: dead.uid,
            fds: Vec::new(),
            sock: dead.sock.sock,
            cookie: dead.sock.cookie.map(u64::from),
            netns,
            family: conn(dead).family(),
            direction: direction(dead.sock.state, dead.sock.flags, dead.is_unaccepted),
            local,
            remote,
            state: dead.sock.state,
            class,
            verdict,
            unread_bytes: dead.sock.unread - fin,
        }
    }

    /// True if a filter of known leaks names it.
    pub fn is_named_by(&self, filter: &Filter) -> bool {
        fn any<T>(allowed: &[T], matches: impl Fn(&T) -> bool) -> bool {
            allowed.is_empty() || allowed.iter().any(matches)
        }
        filter.matches_conn(&self.local, &self.remote, self.netns)
            && any(&filter.verdict, |&verdict| self.verdict == Some(verdict))
            && any(&filter.state, |states| states.contains(self.state))
            && any(&filter.pid, |&pid| self.pid == pid)
            && any(&filter.comm, |comm| self.has_name(comm))
            && any(&filter.uid, |&uid| self.uid == uid)
            && any(&filter.whose.cmd, |pattern| {
                pattern.is_in_command_of(&self.identity(), &|| None) == Some(true)
            })
    }

    /// Who its process was, as far as its program's arguments tell.
    fn identity(&self) -> Identity {
        let known = Known { cmdline: true, ..Known::default() };
        Identity { cmdline: Some(self.args.clone()), known, ..Identity::default() }
    }

    /// True if its process has this name: as `ps -o comm` prints it, or its first argument's base name.
    fn has_name(&self, name: &str) -> bool {
        let base = |path: &String| path.rsplit('/').next().map(str::to_owned);
        self.comm == name || self.args.first().and_then(base).is_some_and(|base| base == name)
    }
}

/// The connection: as it was at its end, where a listener that was closed has taken its addresses away.
fn conn(dead: &Dead) -> Conn {
    if dead.since.is_some() { dead.conn } else { dead.sock.conn }
}

/// Judges a dead socket at the time of its record. What has moved for less than `min_age` is in use.
pub fn judge_dead(dead: &Dead, min_age: u64, tick: Tick) -> Judgement {
    judge(&facts(dead, tick), min_age)
}

/// How long it was dead: since its end, or the last move on it after that.
pub fn dead_for(dead: &Dead, tick: Tick) -> u64 {
    let stamps = &dead.sock.stamps;
    let since = dead.since.unwrap_or_else(|| age::last_data(stamps, tick));
    let moved = last_sent(dead, tick).into_iter().chain(last_read(dead)).max();
    stamps.ktime.saturating_sub(since.max(moved.unwrap_or(0)))
}

/// When the program, or what it sent, last advanced at the latest; `None` where neither has since the
/// end.
fn last_sent(dead: &Dead, tick: Tick) -> Option<u64> {
    let (stamps, now, then) = (&dead.sock.stamps, dead.sock.progress, dead.before);
    let has_moved = (now.write_seq, now.snd_una) != (then.write_seq, then.snd_una);
    // A socket that is shut down after the peer's end sends a FIN, and nothing more.
    let is_fin = dead.sock.state != State::CloseWait;
    let at = |stamp| age::at(stamps, stamp, tick);
    (has_moved && !is_fin).then(|| at(stamps.lsndtime).max(at(stamps.rcv_tstamp)))
}

/// When the program last read, at the latest; `None` where it has not since the end.
fn last_read(dead: &Dead) -> Option<u64> {
    let has_data = dead.sock.unread > u32::from(dead.sock.flags.contains(SockFlags::PEER_CLOSED));
    let has_moved = dead.sock.progress.copied_seq != dead.before.copied_seq;
    let stamps = &dead.sock.stamps;
    (has_moved && has_data).then(|| age::last_read(stamps).max(age::last_active(stamps)))
}

fn facts(dead: &Dead, tick: Tick) -> Facts {
    let sock = &dead.sock;
    let stamps = &sock.stamps;
    let ago = |then: u64| stamps.ktime.saturating_sub(then);
    let seen_ago = |stamp| match age::at(stamps, stamp, tick) {
        0 => 0,
        then => ago(then),
    };
    // A socket that is being closed has lost its owner already; it had one until then.
    let owned = SockFlags::HAS_SOCKET | SockFlags::HAS_FILE;
    let flags = sock.flags - SockFlags::ORPHAN;
    let Conn { local, remote, .. } = conn(dead);
    Facts {
        state: sock.state,
        flags: if dead.is_unaccepted { flags - owned } else { flags | owned },
        err: sock.err,
        local_port: local.port,
        remote_port: remote.port,
        unread: Some(sock.unread),
        is_queued: dead.is_unaccepted,
        has_unsent: sock.progress.write_seq != sock.progress.snd_una,
        is_relayed: false,
        read_ago: last_read(dead).map(ago),
        sent_ago: last_sent(dead, tick).map(ago),
        unacknowledged_for: seen_ago(stamps.rcv_tstamp),
        unanswered_for: seen_ago(stamps.rcv_tstamp),
        received_ago: seen_ago(stamps.lrcvtime),
        untouched_for: ago(age::last_data(stamps, tick).max(age::last_read(stamps))),
        connected_for: ago(age::since(sock.state, flags, stamps, tick).latest),
    }
}

fn all_sanitised<S: Serializer>(args: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(args.iter().map(|arg| name::sanitised(arg)))
}
