//! Holders that exit between two scans.

use std::collections::hash_map::Entry;
use std::mem;

use super::{Table, is_followed};
use crate::sock::event::{Pid, SockFlags};
use crate::sock::state::State;

impl Table {
    /// Notes that a process has exited; [`Table::forget_exited`] does the rest.
    pub(super) fn exit(&mut self, pid: Pid, start_time: u64) {
        if let Some(scan) = &mut self.scan {
            scan.exited.push((pid, start_time));
        } else if let Entry::Occupied(known) = self.processes.entry(pid)
            // Otherwise the number is another process's already.
            && known.get().start_time <= start_time
        {
            known.remove();
            self.exited.insert(pid);
        }
    }

    /// Removes the holders that have exited. A socket that has lost its last one is closed, or in
    /// the hands of a process that no scan has seen with it; where no event will tell which, it is
    /// removed. Says whether there was such a socket, which only another scan can find.
    pub fn forget_exited(&mut self) -> bool {
        let exited = mem::take(&mut self.exited);
        if exited.is_empty() {
            return false;
        }
        for queue in self.queues.values_mut() {
            self.has_bereft |= queue.holders.remove(&exited);
        }
        let mut any = false;
        self.socks.retain(|_, tracked| {
            if !tracked.holders.remove(&exited) {
                return true;
            }
            if is_followed(tracked.state, self.watched) || tracked.holders.omitted() > 0 {
                tracked.is_bereft = true;
                self.unscanned += 1;
                return true;
            }
            any = true;
            // Leaked, if somebody else has it: that cannot wait.
            self.has_bereft |=
                tracked.state == State::Close && tracked.flags.contains(SockFlags::CONNECTED);
            false
        });
        any
    }
}
