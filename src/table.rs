//! The live table: which sockets are in a watched state, since when, and who holds them.
//!
//! A pure state machine. Transitions give timing, scans give truth; time comes with them.
//! A row's key is the socket's address, the holder's PID and the 4-tuple: one [`Tracked`] for
//! each socket, with its holders inside.
//!
//! How the two sources meet, in whatever order they come:
//!
//! - a scan replaces what it sees and, at its end, removes what it has not seen;
//! - transitions that happen while a scan runs are applied after it. A transition older than the
//!   reading of its socket is history: it can say since when, not what is.

use std::collections::HashMap;
use std::num::NonZeroU64;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::age::{self, SLACK_NS, Since, Tick};
use crate::conn::{Conn, SockPtr};
use crate::event::{Holder, Listener, Pid, Process, Record, Sock, SockFlags, Transition};
use crate::state::{State, StateSet};
use crate::verdict::Verdict;

/// How many sockets a table takes before it says that it is full.
pub const CAPACITY: usize = 1 << 20;

/// The table.
#[derive(Debug)]
pub struct Table {
    watched: StateSet,
    tick: Tick,
    capacity: usize,
    /// The kernel's allocator chooses the keys, and no attacker: a fast hash will do.
    socks: FxHashMap<SockPtr, Box<Tracked>>,
    queues: HashMap<SockPtr, Queue>,
    processes: HashMap<Pid, Process>,
    /// While a scan is under way: when it began, and what happened since.
    scan: Option<(u64, Vec<Transition>)>,
    /// How many sockets no scan has read yet.
    unseen: usize,
    /// Whether there may be sockets that only a scan can find.
    suspects: bool,
    full: bool,
}

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
    seen: u64,
}

/// A listener whose accept queue is not empty.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The listener.
    pub listener: Listener,
    /// Every descriptor that refers to it.
    pub holders: SmallVec<[Holder; 1]>,
}

/// For which network namespaces a scan has looked for sockets without a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// For all there are.
    All,
    /// For all but these.
    AllBut(Vec<u32>),
    /// For these only.
    Only(Vec<u32>),
}

impl Covered {
    /// Whether these are among them; with none named, whether all are.
    pub fn has_all(&self, netns: &[u32]) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(without) if netns.is_empty() => without.is_empty(),
            Self::Only(_) if netns.is_empty() => false,
            _ => netns.iter().all(|&netns| self.has(netns)),
        }
    }

    fn has(&self, netns: u32) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(without) => !without.contains(&netns),
            Self::Only(with) => with.contains(&netns),
        }
    }
}

impl Table {
    /// An empty table for sockets in the states `watched`.
    pub fn new(watched: StateSet, tick: Tick, capacity: usize) -> Self {
        Self {
            watched,
            tick,
            capacity,
            socks: FxHashMap::default(),
            queues: HashMap::new(),
            processes: HashMap::new(),
            scan: None,
            unseen: 0,
            suspects: false,
            full: false,
        }
    }

    /// Every socket.
    pub fn socks(&self) -> impl Iterator<Item = (SockPtr, &Tracked)> {
        self.socks.iter().map(|(&sock, tracked)| (sock, &**tracked))
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.socks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.socks.is_empty()
    }

    /// A process that the last scan saw holding a socket or a listener.
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// The listeners that the last scan saw with connections in their queues.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// Every descriptor through which a socket is held, or else its listener is.
    pub fn holders<'a>(&'a self, tracked: &'a Tracked) -> &'a [Holder] {
        match tracked.listener.and_then(|listener| self.queues.get(&listener)) {
            Some(queue) => &queue.holders,
            None => &tracked.holders,
        }
    }

    /// Whether there are sockets that no scan has read yet, so that their owner is not known, or
    /// there may be some that only a scan can find.
    pub fn needs_scan(&self) -> bool {
        self.unseen > 0 || self.suspects
    }

    /// Whether there are sockets that a scan saw, and that have a descriptor or ought to be in a
    /// queue, and it found neither: they were on the move, or the descriptor is in flight.
    pub fn has_missing_owners(&self) -> bool {
        self.socks.values().any(|tracked| {
            tracked.holders.is_empty() && tracked.listener.is_none() && !tracked.ownerless()
        })
    }

    /// Whether sockets were left out because the table was full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Applies a change of state.
    pub fn apply(&mut self, transition: Transition) {
        if let Some((_, deferred)) = &mut self.scan {
            deferred.push(transition);
            return;
        }
        let stays = self.stays(&transition);
        self.suspects |= !stays && Self::is_suspect(&transition);
        let Some(known) = self.socks.get_mut(&transition.sock) else {
            if stays {
                self.insert(transition.sock, Tracked::entered(&transition));
            }
            return;
        };
        let same = known.is(transition.conn, transition.cookie);
        if transition.ktime.saturating_add(SLACK_NS) < known.seen {
            if stays && same && known.state == transition.new {
                known.since = known.since.narrowed_by(Since::exactly(transition.ktime));
            }
        } else if stays && same {
            known.change(&transition);
        } else {
            self.remove(transition.sock);
            if stays {
                self.insert(transition.sock, Tracked::entered(&transition));
            }
        }
    }

    /// Whether a socket that has made this transition belongs into the table.
    fn stays(&self, transition: &Transition) -> bool {
        match transition.new {
            // Whoever destroyed it from outside has left an error for the program, and has left
            // its descriptor open (or it in its queue). A close() leaves neither.
            State::Close => {
                transition.err != 0
                    && !transition.flags.orphan()
                    && !transition.flags.shut_both()
                    && (self.watched.contains(State::Close)
                        || transition.was_reset() && self.watched.contains(State::CloseWait))
            }
            new => self.watched.contains(new),
        }
    }

    /// Whether only a scan can say if a socket that has made this transition is still held: both
    /// sides have shut the connection down, and no close() was seen.
    fn is_suspect(transition: &Transition) -> bool {
        let flags = transition.flags;
        transition.new == State::Close && flags.has_file() && flags.peer_closed() && !flags.orphan()
    }

    /// Begins a scan, at this time. Then come its records, then [`Table::end_scan`].
    pub fn begin_scan(&mut self, ktime: u64) {
        // Of a scan that has failed half-way, only the deferred transitions are of use.
        self.finish_scan();
        self.scan = Some((ktime, Vec::new()));
        (self.full, self.suspects) = (false, false);
        self.queues.clear();
        self.processes.clear();
    }

    /// Takes a record; of a scan, or a transition.
    pub fn absorb(&mut self, record: Record) {
        match record {
            Record::Transition(transition) => self.apply(transition),
            Record::Held(holder, sock) => {
                if let Some(tracked) = self.see(&sock) {
                    tracked.listener = None;
                    insert_sorted(&mut tracked.holders, holder);
                }
            }
            Record::Queued(listener, sock) => {
                // Accepted in the meantime, it is more than queued.
                if self.is_queued(listener, &sock)
                    && let Some(tracked) = self.see(&sock)
                    && tracked.holders.is_empty()
                {
                    tracked.listener = Some(listener);
                }
            }
            // That it exists says nothing more of a socket with a descriptor or in a queue.
            Record::Unheld(sock) => drop(self.see(&sock)),
            Record::Listener(holder, listener) => {
                let new = || Queue { listener: listener.clone(), holders: SmallVec::new() };
                let queue = self.queues.entry(listener.sock).or_insert_with(new);
                insert_sorted(&mut queue.holders, holder);
            }
            Record::Process(pid, process) => {
                // One whose threads have files of their own is reported more than once.
                let known = self.processes.get(&pid);
                if known.is_none_or(|known| known.open_fds < process.open_fds) {
                    self.processes.insert(pid, process);
                }
            }
        }
    }

    /// Whether a socket found in a listener's accept queue can be there: the queue is walked
    /// without its lock, and a walk can stray.
    fn is_queued(&self, listener: SockPtr, sock: &Sock) -> bool {
        let belongs = |queue: &Queue| {
            let at = queue.listener.conn;
            (at.netns, at.local.port) == (sock.conn.netns, sock.conn.local.port)
        };
        !sock.flags.has_socket() && self.queues.get(&listener).is_some_and(belongs)
    }

    /// The network namespaces of the sockets for which the scan under way has found neither a
    /// descriptor nor a queue, so far.
    pub fn netns_to_cover(&self) -> Vec<u32> {
        let began = self.scan_began();
        let unseen = self.socks.values().filter(|tracked| tracked.seen < began);
        let mut netns: Vec<u32> = unseen.map(|tracked| tracked.conn.netns).collect();
        netns.sort_unstable();
        netns.dedup();
        netns
    }

    /// In each network namespace, the sum of the addresses of the sockets that the scan under way
    /// has found with a file and a descriptor. Of these the kernel has a list; of what was
    /// destroyed, and of MPTCP, not.
    pub fn held_in(&self) -> HashMap<u32, u64> {
        let began = self.scan_began();
        let mut held: HashMap<u32, u64> = HashMap::new();
        for (sock, tracked) in &self.socks {
            let listed = tracked.flags.has_file()
                && !tracked.flags.is_mptcp()
                && tracked.state != State::Close;
            if tracked.seen >= began && listed && !tracked.holders.is_empty() {
                let sum = held.entry(tracked.conn.netns).or_default();
                *sum = sum.wrapping_add(sock.0);
            }
        }
        held
    }

    /// Ends a scan that has run to its end: what it did not see is no more, unless it can be
    /// where the scan did not look.
    pub fn end_scan(&mut self, covered: &Covered) {
        let began = self.scan_began();
        self.socks.retain(|_, tracked| {
            let seen = tracked.seen >= began;
            if !seen {
                tracked.holders.clear();
                tracked.listener = None;
            }
            seen || !covered.has(tracked.conn.netns)
        });
        self.unseen = self.socks.values().filter(|tracked| tracked.seen == 0).count();
        self.finish_scan();
    }

    fn finish_scan(&mut self) {
        for transition in self.scan.take().into_iter().flat_map(|(_, deferred)| deferred) {
            self.apply(transition);
        }
    }

    fn scan_began(&self) -> u64 {
        self.scan.as_ref().map_or(0, |(began, _)| *began)
    }

    /// Brings a socket up to date with what the scan has read of it; `None` where it is not one
    /// to watch.
    fn see(&mut self, sock: &Sock) -> Option<&mut Tracked> {
        if !self.watches(sock) {
            return None;
        }
        let began = self.scan_began();
        let mut fresh = Tracked::seen(sock, self.tick, began);
        let known = self.socks.get(&sock.sock).filter(|known| known.is(sock.conn, sock.cookie));
        match known {
            Some(known) if known.seen >= began => {}
            known => {
                if let Some(known) = known
                    && (known.state == sock.state || sock.state == State::Close)
                {
                    fresh.since = fresh.since.narrowed_by(known.since);
                }
                self.insert(sock.sock, fresh);
            }
        }
        self.socks.get_mut(&sock.sock).map(|tracked| &mut **tracked)
    }

    /// Whether a socket belongs into the table: the program's twin of `is_watched()` in the BPF
    /// programs, needed because a socket can change between that look and its reading.
    fn watches(&self, sock: &Sock) -> bool {
        let was_close_wait = sock.state == State::Close && sock.flags.peer_closed();
        self.watched.contains(sock.state)
            || was_close_wait && self.watched.contains(State::CloseWait)
    }

    fn insert(&mut self, sock: SockPtr, tracked: Tracked) {
        self.remove(sock);
        if self.socks.len() >= self.capacity {
            self.full = true;
            return;
        }
        self.unseen += usize::from(tracked.seen == 0);
        self.socks.insert(sock, Box::new(tracked));
    }

    fn remove(&mut self, sock: SockPtr) {
        if let Some(tracked) = self.socks.remove(&sock) {
            self.unseen -= usize::from(tracked.seen == 0);
        }
    }
}

impl Tracked {
    /// A socket that nobody has seen but in a transition.
    fn entered(transition: &Transition) -> Self {
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
    fn seen(sock: &Sock, tick: Tick, scan_began: u64) -> Self {
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
            seen: sock.stamps.ktime.max(scan_began),
        }
    }

    /// Follows a transition to another watched state.
    fn change(&mut self, transition: &Transition) {
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
    fn is(&self, conn: Conn, cookie: Option<NonZeroU64>) -> bool {
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
        let fin = u32::from(self.flags.peer_closed() && self.unread > 0);
        (self.seen != 0 && !self.flags.read_by_mptcp()).then(|| self.unread - fin)
    }
}

fn insert_sorted(holders: &mut SmallVec<[Holder; 1]>, holder: Holder) {
    if let Err(place) = holders.binary_search(&holder) {
        holders.insert(place, holder);
    }
}

#[cfg(test)]
mod tests;
