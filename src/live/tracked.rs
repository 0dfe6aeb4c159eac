//! One socket of the table.

use std::num::NonZeroU64;

use smallvec::SmallVec;

use crate::sock::age::{self, Since, Tick};
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::event::{Holder, Sock, SockFlags, Transition};
use crate::sock::leak::Verdict;
use crate::sock::state::State;

/// What is in its state for less than this is not looked at yet: most programs close within it,
/// and to look costs the same for one socket as for all.
const PASSING_NS: u64 = 100_000_000;

/// A socket in a watched state.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Which connection.
    pub conn: Conn,
    /// Its cookie, once it has one.
    pub cookie: Option<NonZeroU64>,
    /// Since when it is in its state; of what was CLOSE_WAIT once, since when it was that.
    pub since: Since,
    /// When data last went either way; 0 if unknown.
    pub last_data: u64,
    /// `rcv_nxt - copied_seq`.
    pub unread: u32,
    /// The pending errno.
    pub err: u16,
    /// Its state.
    pub state: State,
    /// More about it.
    pub flags: SockFlags,
    /// The listener in whose accept queue it waits.
    pub listener: Option<SockPtr>,
    /// Every descriptor that refers to it. Nearly always there is one.
    pub holders: SmallVec<[Holder; 1]>,
    /// When a scan last read it; 0 if none has.
    pub(crate) seen: u64,
}

impl Tracked {
    /// A socket that nobody has seen but in a transition.
    pub(crate) fn entered(transition: &Transition) -> Self {
        let exactly = Since::exactly(transition.ktime);
        Self {
            conn: transition.conn,
            cookie: transition.cookie,
            // It was in CLOSE_WAIT before, nobody knows since when.
            since: if transition.was_reset() { Since { earliest: 0, ..exactly } } else { exactly },
            last_data: 0,
            unread: 0,
            err: transition.err,
            state: transition.new,
            flags: transition.flags,
            listener: None,
            holders: SmallVec::new(),
            seen: 0,
        }
    }

    /// A socket as a scan saw it.
    pub(crate) fn seen(sock: &Sock, tick: Tick, scan_began: u64) -> Self {
        Self {
            conn: sock.conn,
            cookie: sock.cookie,
            since: age::since(sock.state, &sock.stamps, tick),
            last_data: age::last_data(&sock.stamps, tick),
            unread: sock.unread,
            err: sock.err,
            state: sock.state,
            flags: sock.flags,
            listener: None,
            holders: SmallVec::new(),
            // A clock that lies must not make it look unseen.
            seen: sock.stamps.ktime.max(scan_began).max(1),
        }
    }

    /// Follows a transition to another watched state.
    pub(crate) fn change(&mut self, transition: &Transition) {
        let exactly = Since::exactly(transition.ktime);
        if self.state == transition.new {
            // A scan was first to see it here.
            self.since = self.since.narrowed_by(exactly);
        } else if !transition.was_reset() {
            self.since = exactly;
        }
        self.conn = transition.conn;
        self.cookie = transition.cookie.or(self.cookie);
        self.state = transition.new;
        self.flags = transition.flags;
        self.err = transition.err;
    }

    /// Whether this is that socket, and not an earlier one at the same address.
    pub(crate) fn is(&self, conn: Conn, cookie: Option<NonZeroU64>) -> bool {
        if let (Some(mine), Some(theirs)) = (self.cookie, cookie)
            && mine != theirs
        {
            return false;
        }
        // connect() chooses the local port after it has entered SYN_SENT.
        let mut mine = self.conn;
        if mine.local.port == 0 {
            mine.local.port = conn.local.port;
        }
        mine == conn
    }

    /// Whether it has come so lately that it may be about to leave.
    pub(crate) fn is_passing(&self, now: u64) -> bool {
        now < self.since.latest.saturating_add(PASSING_NS)
    }

    /// Whether a scan has caught it between its end and its close(), of which nothing will be heard.
    pub(crate) fn is_ending(&self) -> bool {
        self.state == State::Close
            && self.err == 0
            && self.flags.contains(SockFlags::HAS_SOCKET)
            && self.flags.contains(SockFlags::PEER_CLOSED)
            // Of these, nothing tells when they came to their end.
            && !self.flags.contains(SockFlags::MPTCP)
            && self.is_passing(self.seen)
    }

    /// What went wrong with it.
    pub fn verdict(&self) -> Option<Verdict> {
        // Before a scan has read it, nobody knows what is unread.
        if self.seen == 0 && self.state != State::Close {
            return None;
        }
        Verdict::of(self.state, self.flags, self.listener.is_some(), self.unread, self.err)
    }

    /// Whether no program will ever refer to it.
    pub fn ownerless(&self) -> bool {
        self.flags.ownerless()
    }

    /// How many bytes the program has not read; `None` where no scan has looked, or could see it.
    pub fn unread_bytes(&self) -> Option<u32> {
        let fin = u32::from(self.flags.contains(SockFlags::PEER_CLOSED) && self.unread > 0);
        (self.seen != 0 && !self.flags.read_by_mptcp()).then(|| self.unread - fin)
    }
}
