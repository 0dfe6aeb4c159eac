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
use std::mem;

use indexmap::IndexMap;
use indexmap::map::Entry;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::holders::{HolderList, Room, Sharers};
use super::notes::Notes;
pub use super::tracked::Tracked;
use crate::sock::age::{SLACK_NS, Since, Tick};
use crate::sock::conn::SockPtr;
use crate::sock::event::{Holder, Listener, Pid, Process, Record, Sock, SockFlags, Transition};
use crate::sock::leak;
use crate::sock::state::{State, StateSet};
use crate::sock::sums::Sums;

/// How many sockets a table takes before it says that it is full.
pub const CAPACITY: usize = 1 << 20;

/// For how many it has room from the start: what fills a hash table of 1 << 17 slots. What is not
/// used of it takes no memory; to make room later takes time.
const ROOM: usize = 7 << 14;
/// A burst is over when so many sockets have left the table: 2 MB.
const BURST: usize = 1 << 13;

/// The table.
#[derive(Debug)]
pub struct Table {
    watched: StateSet,
    tick: Tick,
    capacity: usize,
    /// The kernel's allocator chooses the keys, and no attacker: a fast hash will do. In one block,
    /// because reports and scans go through all of them.
    socks: IndexMap<SockPtr, Tracked, FxBuildHasher>,
    queues: HashMap<SockPtr, Queue>,
    processes: FxHashMap<Pid, Process>,
    room: Room,
    /// Notes from events, of use once a scan has found the sockets.
    notes: Notes,
    /// Sockets in CLOSE_WAIT, each with the one that its holder shut down for it.
    relays: FxHashMap<SockPtr, SockPtr>,
    scan: Option<Scan>,
    /// Holders that have exited, and that sockets still name.
    exited: FxHashSet<Pid>,
    /// How many sockets only a scan can tell the owner of.
    unscanned: usize,
    /// True if holders have exited of which only a scan can tell what became of their sockets.
    has_bereft: bool,
    /// True if the last scan has caught some between their end and their close().
    ending: bool,
    full: bool,
    /// The most sockets since memory was last given back.
    most: usize,
}

/// A scan that is under way.
#[derive(Debug)]
struct Scan {
    began: u64,
    /// Transitions since then.
    deferred: Vec<Transition>,
    /// Processes that have exited since, and when they began.
    exited: Vec<(Pid, u64)>,
    /// Processes that share their descriptors.
    sharers: Sharers,
}

/// A listener whose accept queue is not empty.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The listener.
    pub listener: Listener,
    /// The descriptors that refer to it.
    pub holders: HolderList,
}

impl Table {
    /// An empty table for sockets in the states `watched`, besides those that can have a verdict.
    pub fn new(watched: StateSet, tick: Tick, capacity: usize) -> Self {
        Self {
            watched,
            tick,
            capacity,
            socks: IndexMap::with_capacity_and_hasher(capacity.min(ROOM), FxBuildHasher),
            queues: HashMap::new(),
            processes: FxHashMap::default(),
            room: Room::default(),
            notes: Notes::default(),
            relays: FxHashMap::default(),
            scan: None,
            exited: FxHashSet::default(),
            unscanned: 0,
            has_bereft: false,
            ending: false,
            full: false,
            most: 0,
        }
    }

    /// Every socket.
    pub fn socks(&self) -> impl Iterator<Item = (SockPtr, &Tracked)> {
        self.socks.iter().map(|(&sock, tracked)| (sock, tracked))
    }

    /// The socket at this place among them, until the table changes.
    pub fn get(&self, index: usize) -> Option<(SockPtr, &Tracked)> {
        self.socks.get_index(index).map(|(&sock, tracked)| (sock, tracked))
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.socks.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.socks.is_empty()
    }

    /// A process that the last scan saw holding a socket or a listener.
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Every process that the last scan saw holding a socket or a listener.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &Process)> {
        self.processes.iter().map(|(&pid, process)| (pid, process))
    }

    /// The listeners that the last scan saw with connections in their queues.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// The descriptors through which a socket is held, or else its listener is.
    pub fn holders<'a>(&'a self, tracked: &'a Tracked) -> &'a [Holder] {
        self.holder_list(tracked)
    }

    /// How many descriptors of this kind are not listed.
    pub fn holders_omitted(&self, tracked: &Tracked) -> u32 {
        self.holder_list(tracked).omitted()
    }

    /// True if a process has descriptors that are not listed.
    pub fn is_partly_listed(&self, pid: Pid) -> bool {
        self.room.has_omitted(pid)
    }

    fn holder_list<'a>(&'a self, tracked: &'a Tracked) -> &'a HolderList {
        match tracked.listener.and_then(|listener| self.queues.get(&listener)) {
            Some(queue) => &queue.holders,
            None => &tracked.holders,
        }
    }

    /// The socket that the holder of this one, in CLOSE_WAIT, has shut down for it.
    pub fn relay(&self, sock: SockPtr) -> Option<(SockPtr, &Tracked)> {
        let other = *self.relays.get(&sock)?;
        self.socks.get(&other).map(|tracked| (other, tracked))
    }

    /// True if there are sockets whose owner is not known until the next scan.
    pub fn needs_scan(&self, now: u64) -> bool {
        let waits = |tracked: &Tracked| tracked.awaits_scan() && !tracked.is_passing(now);
        self.has_bereft || self.unscanned > 0 && self.socks.values().any(waits)
    }

    /// True if any process is known to hold a socket or a listener.
    pub fn has_holders(&self) -> bool {
        !self.processes.is_empty()
    }

    /// True if there are sockets of which a second look would say more.
    pub fn is_in_doubt(&self, now: u64, settle: u64) -> bool {
        self.socks.values().any(|tracked| !tracked.has_settled(now, settle))
    }

    /// True if there are sockets that a scan saw, and that have a descriptor or ought to be in a
    /// queue, and it found neither: they were on the move, or the descriptor is in flight.
    pub fn has_missing_owners(&self) -> bool {
        self.socks.values().any(|tracked| {
            tracked.holders.is_empty() && tracked.listener.is_none() && !tracked.ownerless()
        })
    }

    /// True if there are sockets of which not all holders are listed.
    pub fn has_omitted_holders(&self) -> bool {
        self.socks.values().any(|tracked| tracked.holders.omitted() > 0)
    }

    /// True if sockets were left out because the table was full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Applies a change of state.
    pub fn apply(&mut self, transition: Transition) {
        if let Some(scan) = &mut self.scan {
            scan.deferred.push(transition);
            return;
        }
        let stays = self.stays(&transition);
        self.notes.take(&transition);
        let Some(known) = self.socks.get_mut(&transition.sock) else {
            if stays {
                self.enter(&transition);
            }
            return;
        };
        let same = known.is(transition.conn, transition.cookie);
        // An entry that was held back overtakes records that have come through the ring since.
        let is_overtaken = known.since.is_exact() && transition.ktime < known.since.latest;
        if is_overtaken {
            return;
        }
        if transition.ktime.saturating_add(SLACK_NS) < known.seen {
            if stays && same && known.state == transition.new {
                known.since = known.since.narrowed_by(Since::exactly(transition.ktime));
            }
        } else if stays && same {
            known.change(&transition);
        } else {
            self.remove(transition.sock);
            if stays {
                self.enter(&transition);
            }
        }
    }

    /// True if a socket that has made this transition belongs into the table.
    fn stays(&self, transition: &Transition) -> bool {
        match transition.new {
            State::Close => transition.is_reset(),
            State::CloseWait => true,
            new => self.watched.contains(new),
        }
    }

    /// Begins a scan, at this time. Then come its records, then [`Table::end_scan`].
    pub fn begin_scan(&mut self, ktime: u64) {
        // Of a scan that has failed half-way, only the deferred transitions are of use.
        self.finish_scan();
        self.forget_exited();
        self.scan = Some(Scan {
            began: ktime,
            deferred: Vec::new(),
            exited: Vec::new(),
            sharers: Sharers::default(),
        });
        self.full = false;
        self.has_bereft = false;
        self.ending = false;
        self.queues.clear();
        self.processes.clear();
        self.room = Room::default();
    }

    /// Takes a record; of a scan, or a transition.
    pub fn absorb(&mut self, record: Record) {
        match record {
            Record::Transition(transition) => self.apply(transition),
            Record::Held(holder, sock) => {
                if let Some((tracked, room)) = self.see(&sock) {
                    tracked.listener = None;
                    tracked.holders.add(holder, room);
                }
            }
            Record::Queued(listener, mut sock) => {
                // A child has the flag of its listener. MPTCP's are opened by the kernel, for programs.
                sock.flags.remove(SockFlags::KERNEL);
                // That it waits is proof enough: no subflow of MPTCP's has any other. Accepted in the
                // meantime, it is more than queued.
                if self.is_queued(listener, &sock)
                    && let Some((tracked, _)) = self.see_wanted(&sock)
                    && tracked.holders.is_empty()
                {
                    tracked.listener = Some(listener);
                }
            }
            // That it exists says nothing more of a socket with a descriptor or in a queue.
            Record::Unheld(sock) => drop(self.see(&sock)),
            Record::Listener(holder, listener) => {
                let new = || Queue { listener: listener.clone(), holders: HolderList::default() };
                let queue = self.queues.entry(listener.sock).or_insert_with(new);
                queue.holders.add(holder, &mut self.room);
            }
            Record::SameFiles(pid, other) => {
                if let Some(scan) = &mut self.scan {
                    scan.sharers.note(pid, other);
                }
            }
            Record::Exit(pid, start_time) => self.exit(pid, start_time),
            Record::Process(pid, process) => {
                // One whose threads have files of their own is reported more than once.
                let known = self.processes.get(&pid);
                if known.is_none_or(|known| known.open_fds < process.open_fds) {
                    self.processes.insert(pid, process);
                }
            }
        }
    }

    /// True if a socket found in a listener's accept queue can be there: the queue is walked
    /// without its lock, and a walk can stray.
    fn is_queued(&self, listener: SockPtr, sock: &Sock) -> bool {
        let belongs = |queue: &Queue| {
            let at = queue.listener.conn;
            (at.netns, at.local.port) == (sock.conn.netns, sock.conn.local.port)
        };
        !sock.flags.contains(SockFlags::HAS_SOCKET)
            && self.queues.get(&listener).is_some_and(belongs)
    }

    /// True if there are sockets that the scan under way has not found so far, though no event has
    /// said that they are gone: in no process's hands, and in no queue. Those set aside that may be
    /// about to leave.
    pub fn has_missed(&self) -> bool {
        let began = self.scan_began();
        self.socks.values().any(|tracked| {
            tracked.seen < began
                && is_followed(tracked.state, self.watched)
                && !tracked.is_passing(began)
        })
    }

    /// The sockets that the scan under way has found with a descriptor: those that the walk through
    /// the kernel's hash tables passes over and sums up.
    pub fn held(&self) -> Sums {
        let began = self.scan_began();
        let counts = |tracked: &Tracked| {
            tracked.seen >= began
                && !tracked.holders.is_empty()
                && tracked.flags.contains(SockFlags::HAS_SOCKET)
                && !tracked.flags.contains(SockFlags::MPTCP)
                && self.is_summed(tracked.state)
        };
        self.socks().filter(|(_, tracked)| counts(tracked)).map(|(sock, _)| sock).collect()
    }

    /// True if the walk sums up sockets in this state: the twin of `is_summed()` in the programs. What
    /// is a candidate for other reasons changes too often to be compared.
    fn is_summed(&self, state: State) -> bool {
        let half_shut =
            matches!(state, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck);
        let is_hashed = !matches!(state, State::Close | State::Listen);
        is_hashed && (state == State::CloseWait || half_shut || self.watched.contains(state))
    }

    /// Ends a scan that has run to its end: what it did not see is no more. Unless it looked
    /// `everywhere`, it may not have seen what is about to be accepted or closed.
    pub fn end_scan(&mut self, everywhere: bool) {
        self.add_sharers();
        let began = self.scan_began();
        let hides = |tracked: &Tracked| !everywhere && tracked.is_passing(began);
        self.most = self.most.max(self.socks.len());
        self.socks.retain(|_, tracked| {
            let seen = tracked.seen >= began;
            if !seen {
                tracked.holders.clear();
                tracked.listener = None;
            } else if tracked.held_since == 0 && !tracked.holders.is_empty() {
                tracked.held_since = began;
            }
            seen || hides(tracked)
        });
        self.unscanned = self.socks.values().filter(|tracked| tracked.awaits_scan()).count();
        self.relays = self.notes.relays(&self.socks);
        self.notes.retain(|sock| self.socks.contains_key(&sock));
        self.finish_scan();
        self.give_back();
    }

    /// Gives back the memory of a burst that is over. One block has all sockets: the part that was used
    /// goes, and room takes its place which is not.
    fn give_back(&mut self) {
        if self.most > self.socks.len() + BURST {
            // More than none: what is freed as a whole, the allocator keeps the next time.
            self.socks.shrink_to(self.socks.len() + 1);
            self.socks.reserve(self.capacity.min(ROOM).saturating_sub(self.socks.len()));
            self.most = self.socks.len();
        }
    }

    /// Forgets what the last scan has caught between its end and its close(); says whether there
    /// was any. Only another scan can tell of it.
    pub fn forget_ending(&mut self) -> bool {
        let any = mem::take(&mut self.ending);
        if any {
            self.socks.retain(|_, tracked| !tracked.is_ending());
        }
        any
    }

    /// Adds the processes that share the descriptors of a holder.
    fn add_sharers(&mut self) {
        let sharers = self.scan.as_mut().map(|scan| mem::take(&mut scan.sharers));
        let Some(mut sharers) = sharers.filter(|sharers| !sharers.is_empty()) else {
            return;
        };
        let lists = self.socks.values_mut().map(|tracked| &mut tracked.holders);
        let lists = lists.chain(self.queues.values_mut().map(|queue| &mut queue.holders));
        lists.for_each(|list| sharers.add_to(list, &mut self.room));
        sharers.end(&mut self.room);
    }

    fn finish_scan(&mut self) {
        let Some(Scan { deferred, exited, .. }) = self.scan.take() else {
            return;
        };
        deferred.into_iter().for_each(|transition| self.apply(transition));
        exited.into_iter().for_each(|(pid, start_time)| self.exit(pid, start_time));
    }

    fn scan_began(&self) -> u64 {
        self.scan.as_ref().map_or(0, |scan| scan.began)
    }

    /// Brings a socket up to date with what the scan has read of it; `None` where it is not one
    /// to keep. With the room for its holders.
    fn see(&mut self, sock: &Sock) -> Option<(&mut Tracked, &mut Room)> {
        if self.wants(sock) { self.see_wanted(sock) } else { None }
    }

    /// The same of one that is wanted.
    fn see_wanted(&mut self, sock: &Sock) -> Option<(&mut Tracked, &mut Room)> {
        let began = self.scan_began();
        let full = self.socks.len() >= self.capacity;
        let end = self.notes.end_of(sock);
        let fresh = || {
            let mut fresh = Tracked::seen(sock, self.tick, began);
            if let Some(ktime) = end {
                fresh.since = fresh.since.narrowed_by(Since::exactly(ktime));
            }
            fresh
        };
        let tracked = match self.socks.entry(sock.sock) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                let same = known.is(sock.conn, sock.cookie);
                if !same || known.seen < began {
                    let mut fresh = fresh();
                    if same {
                        fresh.continue_from(known);
                    }
                    self.unscanned -= usize::from(known.awaits_scan());
                    self.ending |= fresh.is_ending();
                    *known = fresh;
                }
                known
            }
            Entry::Vacant(_) if full => {
                self.full = true;
                return None;
            }
            Entry::Vacant(entry) => {
                let fresh = fresh();
                self.ending |= fresh.is_ending();
                entry.insert(fresh)
            }
        };
        Some((tracked, &mut self.room))
    }

    /// True if a socket belongs into the table. The programs have asked the same (`is_wanted()`),
    /// but a socket can change between that look and its reading.
    fn wants(&self, sock: &Sock) -> bool {
        self.watched.contains(sock.state) || leak::is_candidate(sock.state, sock.flags, sock.unread)
    }

    /// Takes a socket that no scan has read, and that is not known.
    fn enter(&mut self, transition: &Transition) {
        if self.socks.len() >= self.capacity {
            self.full = true;
            return;
        }
        self.unscanned += 1;
        self.socks.insert(transition.sock, Tracked::entered(transition));
    }

    fn remove(&mut self, sock: SockPtr) {
        self.most = self.most.max(self.socks.len());
        if let Some(tracked) = self.socks.swap_remove(&sock) {
            self.unscanned -= usize::from(tracked.awaits_scan());
        }
    }
}

/// True if an event tells when a socket leaves this state.
fn is_followed(state: State, watched: StateSet) -> bool {
    state == State::CloseWait || state != State::Close && watched.contains(state)
}

mod exits;
#[cfg(test)]
pub(super) mod tests;
