//! One socket of the table: what the last look at it has shown, and what has moved since the first.

use std::num::NonZeroU64;

use super::holders::HolderList;
use crate::sock::age::{self, Since, Tick};
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::event::{Progress, Sock, SockFlags, Transition};
use crate::sock::leak::{self, Facts, Judgement};
use crate::sock::state::State;

/// No scan looks at what has been in its state for less than this: most programs close within it,
/// and a scan costs the same for one socket as for all.
const GRACE_NS: u64 = 100_000_000;

/// One look will do at a socket on which nothing has happened for so long.
const QUIET_NS: u64 = 1_000_000_000;

/// A socket that somebody asked for, or that can have a verdict. Times are in ns of
/// `CLOCK_MONOTONIC`; 0 is "never".
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Which connection.
    pub conn: Conn,
    /// Its cookie, once it has one.
    pub cookie: Option<NonZeroU64>,
    /// Since when it is in its state; of what was CLOSE_WAIT once, since when it was that.
    pub since: Since,
    /// When data last went either way.
    pub last_data: u64,
    /// How many bytes have come from the peer, one of them for a FIN.
    pub bytes_received: u64,
    /// How many bytes the peer has acknowledged.
    pub bytes_acked: u64,
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
    /// The descriptors that refer to it. Nearly always there is one.
    pub holders: HolderList,
    /// When a scan last read it.
    pub(crate) seen: u64,
    /// How far the program and its peer had come then.
    progress: Progress,
    /// Its entry into this state was seen.
    was_seen_to_enter: bool,
    /// When it was first seen like this: in this state, with these sequence numbers.
    unmoved_since: u64,
    /// The last packet, or read, if the kernel notes them.
    last_active: u64,
    last_received: u64,
    last_answer: u64,
    /// Since when the peer's window has been closed.
    blocked_since: u64,
    /// When data last went either way, or was read.
    last_touched: u64,
    /// When a look last showed that the program had read,
    last_read: u64,
    /// that it or what it sent had advanced,
    last_sent: u64,
    /// and that the peer had acknowledged something; before that, the time of the first look.
    last_acknowledged: u64,
    /// When a scan first saw a process hold it.
    pub(crate) held_since: u64,
    /// True if every process that the last scan saw hold it has exited since.
    pub(crate) is_bereft: bool,
}

impl Tracked {
    /// A socket that nobody has seen but in a transition.
    pub(crate) fn entered(transition: &Transition) -> Self {
        let exactly = Since::exactly(transition.ktime);
        Self {
            conn: transition.conn,
            cookie: transition.cookie,
            // It was in CLOSE_WAIT before, nobody knows since when.
            since: if transition.ends_close_wait() {
                Since { earliest: 0, ..exactly }
            } else {
                exactly
            },
            last_data: 0,
            bytes_received: 0,
            bytes_acked: 0,
            unread: 0,
            err: transition.err,
            state: transition.new,
            flags: transition.flags,
            listener: None,
            holders: HolderList::default(),
            seen: 0,
            progress: transition.progress,
            was_seen_to_enter: true,
            unmoved_since: transition.ktime,
            last_active: 0,
            last_received: 0,
            last_answer: 0,
            blocked_since: 0,
            last_touched: 0,
            last_read: 0,
            last_sent: 0,
            last_acknowledged: transition.ktime,
            held_since: 0,
            is_bereft: false,
        }
    }

    /// A socket as a scan saw it.
    pub(crate) fn seen(sock: &Sock, tick: Tick, scan_began: u64) -> Self {
        let stamps = &sock.stamps;
        // A clock that lies must not make it look unseen.
        let seen = stamps.ktime.max(scan_began).max(1);
        Self {
            conn: sock.conn,
            cookie: sock.cookie,
            since: age::since(sock.state, sock.flags, stamps, tick),
            last_data: age::last_data(stamps, tick),
            bytes_received: sock.bytes_received,
            bytes_acked: sock.bytes_acked,
            unread: sock.unread,
            err: sock.err,
            state: sock.state,
            flags: sock.flags,
            listener: None,
            holders: HolderList::default(),
            seen,
            progress: sock.progress,
            was_seen_to_enter: false,
            unmoved_since: seen,
            last_active: age::last_active(stamps),
            last_received: age::at(stamps, stamps.lrcvtime, tick),
            last_answer: age::at(stamps, stamps.rcv_tstamp, tick),
            blocked_since: age::at(stamps, stamps.probing_since, tick),
            last_touched: age::last_data(stamps, tick).max(age::last_read(stamps)),
            last_read: 0,
            last_sent: 0,
            last_acknowledged: seen,
            held_since: 0,
            is_bereft: false,
        }
    }

    /// Takes over what an earlier look at the same socket has shown, and notes what has moved since.
    pub(crate) fn continue_from(&mut self, before: &Self) {
        let same_state = self.state == before.state;
        if same_state || (before.state, self.state) == (State::CloseWait, State::Close) {
            self.since = self.since.narrowed_by(before.since);
        }
        self.held_since = before.held_since;
        self.was_seen_to_enter = same_state && before.was_seen_to_enter;
        let (now, then) = (self.progress, before.progress);
        if then == Progress::default() {
            return;
        }
        let when = |moved, last: u64| if moved { self.seen } else { last };
        let read = now.copied_seq != then.copied_seq;
        let acknowledged = now.snd_una != then.snd_una;
        let sent = acknowledged || now.write_seq != then.write_seq;
        let accepted = (self.flags ^ before.flags).contains(SockFlags::HAS_SOCKET);
        self.last_read = when(read, before.last_read);
        self.last_touched = self.last_touched.max(self.last_read);
        self.last_sent = when(sent, before.last_sent);
        self.last_acknowledged = when(acknowledged, before.last_acknowledged);
        if same_state && !read && !sent && !accepted {
            self.unmoved_since = before.unmoved_since;
        }
    }

    /// Follows a transition to another state in which it stays in the table.
    pub(crate) fn change(&mut self, transition: &Transition) {
        let exactly = Since::exactly(transition.ktime);
        if self.state == transition.new {
            // A scan was first to see it here.
            self.since = self.since.narrowed_by(exactly);
        } else {
            if !transition.ends_close_wait() {
                self.since = exactly;
            }
            self.was_seen_to_enter = true;
            self.move_on(transition);
        }
        self.conn = transition.conn;
        self.cookie = transition.cookie.or(self.cookie);
        self.state = transition.new;
        self.flags = transition.flags;
        self.err = transition.err;
    }

    /// Begins anew with what moves: an event is the first look at a socket in its new state.
    fn move_on(&mut self, transition: &Transition) {
        if transition.progress.snd_una != self.progress.snd_una {
            self.last_acknowledged = transition.ktime;
        }
        self.progress = transition.progress;
        self.unmoved_since = transition.ktime;
        (self.last_read, self.last_sent) = (0, 0);
    }

    /// True if this is that socket, and not an earlier one at the same address.
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

    /// True if it has come so lately that it may be about to leave.
    pub(crate) fn is_passing(&self, now: u64) -> bool {
        now < self.since.latest.saturating_add(GRACE_NS)
    }

    /// True if a scan has caught it between its end and its `close()`: no event will tell of that.
    pub(crate) fn is_ending(&self) -> bool {
        self.state == State::Close
            && self.err == 0
            && self.flags.contains(SockFlags::HAS_SOCKET | SockFlags::CONNECTED)
            // Nothing dates the end of an MPTCP connection.
            && !self.flags.contains(SockFlags::MPTCP)
            && self.is_passing(self.seen)
    }

    /// True if it is more than a moment in the life of a program that works: it has stayed since its
    /// entry into the state was seen; or nothing had happened on it for long; or two looks, `settle`
    /// ns apart, have shown the same.
    pub fn has_settled(&self, now: u64, settle: u64) -> bool {
        if self.was_seen_to_enter || self.since.is_exact() {
            return !self.is_passing(now);
        }
        let is_unused = self.state == State::Close && self.last_active == 0;
        if is_unused || self.flags.read_by_mptcp() {
            // A socket without a time of activity counts at once.
            return true;
        }
        // Before Linux 7 the stamp of activity is renewed by reads, too; since then, by packets alone.
        let may_be_read = self.unread_bytes().is_some_and(|bytes| bytes > 0);
        let is_noted = self.last_active != 0;
        let quiet = self.seen.saturating_sub(self.last_active) >= settle.max(QUIET_NS);
        is_noted && quiet && !may_be_read || self.seen.saturating_sub(self.unmoved_since) >= settle
    }

    /// The class, and the verdict where there is proof of one, when nothing counts as idle that has
    /// moved for less than `idle` ns.
    pub fn judge(&self, now: u64, idle: u64, is_relayed: bool) -> Judgement {
        leak::judge(&self.facts(now, is_relayed), idle)
    }

    fn facts(&self, now: u64, is_relayed: bool) -> Facts {
        let ago = |then: u64| now.saturating_sub(then);
        let seen_ago = |then: u64| (then != 0).then(|| ago(then));
        Facts {
            state: self.state,
            flags: self.flags,
            err: self.err,
            local_port: self.conn.local.port,
            remote_port: self.conn.remote.port,
            unread: (self.seen != 0).then_some(self.unread),
            is_queued: self.listener.is_some(),
            has_unsent: self.seen != 0 && self.progress.write_seq != self.progress.snd_una,
            is_relayed,
            read_ago: seen_ago(self.last_read),
            sent_ago: seen_ago(self.last_sent),
            unacknowledged_for: self.unacknowledged_for(now),
            unanswered_for: seen_ago(self.last_answer).unwrap_or(0),
            received_ago: seen_ago(self.last_received).unwrap_or(0),
            untouched_for: seen_ago(self.last_touched).unwrap_or(0),
            connected_for: ago(self.since.latest),
        }
    }

    /// By the best of three proofs: looks have shown the same number; the peer's window has been
    /// closed all the time; or nothing at all has come from it.
    fn unacknowledged_for(&self, now: u64) -> u64 {
        let proofs = [self.last_acknowledged, self.blocked_since, self.last_answer];
        let since = proofs.into_iter().filter(|&since| since != 0).min();
        since.map_or(0, |since| now.saturating_sub(since))
    }

    /// True if a scan saw a process hold it before this time.
    pub fn was_held_before(&self, time: u64) -> bool {
        self.held_since != 0 && self.held_since < time
    }

    /// True if only a scan can tell who has it.
    pub(crate) fn awaits_scan(&self) -> bool {
        self.seen == 0 || self.is_bereft
    }

    /// True if no program will ever refer to it.
    pub fn ownerless(&self) -> bool {
        self.flags.ownerless()
    }

    /// How many bytes of data have come from the peer.
    pub fn data_received(&self) -> u64 {
        let fin = u64::from(self.flags.contains(SockFlags::PEER_CLOSED));
        self.bytes_received.saturating_sub(fin)
    }

    /// How many bytes the program has not read; `None` where no scan has looked, or could see it.
    pub fn unread_bytes(&self) -> Option<u32> {
        let fin = u32::from(self.flags.contains(SockFlags::PEER_CLOSED) && self.unread > 0);
        (self.seen != 0 && !self.flags.read_by_mptcp()).then(|| self.unread - fin)
    }
}

#[cfg(test)]
mod tests;
