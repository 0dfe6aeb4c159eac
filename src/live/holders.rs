//! Who holds a socket: a bounded list. A hostile user can have two thousand processes hold each of
//! nine thousand sockets: eighteen million holders, which nobody would read.

use std::ops::Deref;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::sock::event::{Holder, Pid};

/// How many holders of a socket, or of a listener, are listed.
pub const LISTED: usize = 64;

/// How many are listed of all sockets together, besides one of each.
pub const LISTED_IN_ALL: usize = 1 << 16;

/// The descriptors that refer to a socket, in order: the first that a scan finds. The others are
/// counted.
#[derive(Clone, Debug, Default)]
pub struct HolderList {
    listed: SmallVec<[Holder; 1]>,
    omitted: u32,
}

/// How many more descriptors may be listed, and which processes have some that are not.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    partly_listed: FxHashSet<Pid>,
}

impl Default for Room {
    fn default() -> Self {
        Self { left: LISTED_IN_ALL, partly_listed: FxHashSet::default() }
    }
}

impl Room {
    /// True if some descriptors of this process are not listed.
    pub(super) fn has_omitted(&self, pid: Pid) -> bool {
        self.partly_listed.contains(&pid)
    }
}

impl HolderList {
    /// How many descriptors are not listed.
    pub fn omitted(&self) -> u32 {
        self.omitted
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds one.
    pub(super) fn add(&mut self, holder: Holder, room: &mut Room) {
        if !self.list(holder, room) {
            self.omitted = self.omitted.saturating_add(1);
            room.partly_listed.insert(holder.pid);
        }
    }

    /// Removes those of processes that have exited; says whether none is left on the list.
    pub(super) fn remove(&mut self, exited: &FxHashSet<Pid>) -> bool {
        let before = self.listed.len();
        self.listed.retain(|holder| !exited.contains(&holder.pid));
        before > 0 && self.listed.is_empty()
    }

    /// Lists one, if there is room.
    fn list(&mut self, holder: Holder, room: &mut Room) -> bool {
        let Err(place) = self.listed.binary_search(&holder) else { return true };
        if self.listed.is_empty() {
            self.listed.push(holder);
            return true;
        }
        if self.listed.len() >= LISTED || room.left == 0 {
            return false;
        }
        room.left -= 1;
        self.listed.insert(place, holder);
        true
    }
}

impl Deref for HolderList {
    type Target = [Holder];

    fn deref(&self) -> &[Holder] {
        &self.listed
    }
}

/// Processes that share the descriptors of another one, which is the key.
#[derive(Debug, Default)]
pub(super) struct Sharers {
    of: FxHashMap<Pid, Vec<Pid>>,
    /// Of how many at least all descriptors are listed; all, where nothing is said.
    whole: FxHashMap<Pid, usize>,
}

impl Sharers {
    /// Notes that a process shares the descriptors of another.
    pub(super) fn note(&mut self, pid: Pid, other: Pid) {
        self.of.entry(other).or_default().push(pid);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Adds the sharers of the holders of a socket, until the list is full; the rest is a number. To
    /// add two thousand sharers one by one, for each of nine thousand sockets, would take minutes.
    pub(super) fn add_to(&mut self, list: &mut HolderList, room: &mut Room) {
        let owners: SmallVec<[Holder; 1]> =
            list.iter().copied().filter(|holder| self.of.contains_key(&holder.pid)).collect();
        for holder in owners {
            let sharers = self.of.get(&holder.pid).map_or(&[][..], Vec::as_slice);
            let listed = sharers
                .iter()
                .take_while(|&&pid| list.list(Holder { pid, ..holder }, room))
                .count();
            let rest = sharers.len() - listed;
            if rest > 0 {
                list.omitted = list.omitted.saturating_add(u32::try_from(rest).unwrap_or(u32::MAX));
                let whole = self.whole.entry(holder.pid).or_insert(listed);
                *whole = listed.min(*whole);
            }
        }
    }

    /// Notes which processes have descriptors that are not listed.
    pub(super) fn end(self, room: &mut Room) {
        for (pid, sharers) in &self.of {
            let whole = match room.has_omitted(*pid) {
                true => 0,
                false => self.whole.get(pid).copied().unwrap_or(sharers.len()),
            };
            room.partly_listed.extend(&sharers[whole..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pids(list: &HolderList) -> Vec<Pid> {
        list.iter().map(|holder| holder.pid).collect()
    }

    #[test]
    fn beyond_the_bound_holders_are_counted() {
        let (mut list, mut room) = (HolderList::default(), Room::default());
        (1..=2_000).for_each(|pid| list.add(Holder::at(pid, 3), &mut room));
        assert_eq!(pids(&list), (1..=64).collect::<Vec<_>>());
        assert_eq!(list.omitted(), 1_936);
        assert!(!room.has_omitted(64) && room.has_omitted(65));
        // Seen again, it is no other.
        list.add(Holder::at(7, 3), &mut room);
        assert_eq!((list.len(), list.omitted()), (64, 1_936));
        assert!(!list.remove(&(2..=64).collect()));
        assert!(list.remove(&FxHashSet::from_iter([1])));
        assert_eq!(list.omitted(), 1_936);
    }

    #[test]
    fn each_socket_lists_one_however_many_there_are() {
        let mut room = Room::default();
        let sockets = LISTED_IN_ALL / (LISTED - 1) + 10;
        let mut lists = vec![HolderList::default(); sockets];
        for pid in 1..=100 {
            lists.iter_mut().for_each(|list| list.add(Holder::at(pid, 3), &mut room));
        }
        let listed: usize = lists.iter().map(|list| list.len()).sum();
        assert_eq!(listed, LISTED_IN_ALL + sockets);
        for list in &lists {
            assert!(!list.is_empty());
            assert_eq!(list.len() + list.omitted() as usize, 100);
        }
    }

    #[test]
    fn sharers_hold_the_same_and_are_bounded_as_well() {
        let mut sharers = Sharers::default();
        (2..=2_000).for_each(|pid| sharers.note(pid, 1));
        let mut room = Room::default();
        let mut lists = vec![HolderList::default(); 9_000];
        for list in &mut lists {
            list.add(Holder::at(1, 3), &mut room);
            sharers.add_to(list, &mut room);
        }
        assert_eq!(pids(&lists[0]), (1..=64).collect::<Vec<_>>());
        assert_eq!(lists[0].omitted(), 1_936);
        assert_eq!((lists[8_999].len(), lists[8_999].omitted()), (1, 1_999));
        let before = room.has_omitted(2);
        sharers.end(&mut room);
        assert!(!before && room.has_omitted(2) && room.has_omitted(2_000) && !room.has_omitted(1));
    }

    #[test]
    fn a_descriptor_that_is_not_listed_is_none_of_a_sharer_either() {
        let (mut sharers, mut room) = (Sharers::default(), Room::default());
        sharers.note(2, 1);
        let mut list = HolderList::default();
        (0..100).for_each(|fd| list.add(Holder::at(1, fd), &mut room));
        sharers.add_to(&mut list, &mut room);
        sharers.end(&mut room);
        assert!(room.has_omitted(1) && room.has_omitted(2));
        assert_eq!((list.len(), list.omitted()), (64, 100));
    }
}
