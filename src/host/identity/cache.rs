//! Identities of processes, each read once.

use std::cell::Cell;
use std::path::PathBuf;

use rustc_hash::FxHashMap;

use super::patience::read_all;
use super::users::Users;
use super::{Identity, Named, PodLogs};

/// How many processes are read for one report. To read one takes some 50 µs: a bound on that, however
/// many processes somebody makes.
pub const AT_ONCE: usize = 1_000;

/// How many bytes of whole command lines are read for one report. The kernel lets a process have 6 MiB.
const WHOLE_AT_ONCE: usize = 64 << 20;

/// In how many reports the name of a pod is looked for: its folder of logs is made when its first
/// container starts.
const TRIES: u8 = 30;

/// Identities of processes, by their number and when they began.
#[derive(Debug)]
pub struct Identities {
    known: FxHashMap<(u32, u64), Known>,
    users: Users,
    pods: PodLogs,
    /// The number of the report at hand, and how many processes may still be read for it.
    report: u64,
    left: usize,
    /// How many bytes of whole command lines may still be read for it.
    whole_left: Cell<usize>,
}

#[derive(Debug)]
struct Known {
    /// Its name when it was read: a process that becomes another program is read again.
    comm: String,
    identity: Identity,
    /// The last report that asked for it.
    asked_in: u64,
    /// In how many more reports the name of its pod is looked for.
    tries: u8,
}

impl Identities {
    /// Nothing is known yet; names of pods come from this folder.
    pub fn new(pod_logs: PathBuf) -> Self {
        Self {
            known: FxHashMap::default(),
            users: Users::default(),
            pods: PodLogs::new(pod_logs),
            report: 0,
            left: 0,
            whole_left: Cell::new(WHOLE_AT_ONCE),
        }
    }

    /// Begins a report: lets [`AT_ONCE`] more processes be read, and forgets those that the last one did
    /// not ask for.
    pub fn begin(&mut self) {
        let last = self.report;
        self.known.retain(|_, known| known.asked_in >= last);
        self.report += 1;
        self.left = AT_ONCE;
        self.whole_left.set(WHOLE_AT_ONCE);
        self.users.refresh();
        self.pods.expire();
    }

    /// Reads processes that are not known yet, in this order, as many as may be read for one report;
    /// returns true if none is left.
    pub fn read<'a>(&mut self, processes: impl IntoIterator<Item = Named<'a>>) -> bool {
        let unknown: Vec<_> = processes.into_iter().filter(|one| !self.ask_for(one)).collect();
        let is_whole = unknown.len() <= self.left;
        let now = &unknown[..unknown.len().min(self.left)];
        self.left -= now.len();
        let read = read_all(now.iter().map(Named::key), Identity::read);
        for (process, identity) in now.iter().zip(read) {
            let mut identity = identity.unwrap_or(Identity::UNKNOWN);
            identity.user = self.users.name(process.uid).map(str::to_owned);
            self.pods.add_names(&mut identity);
            let (comm, asked_in) = (process.comm.to_owned(), self.report);
            self.known.insert(process.key(), Known { comm, identity, asked_in, tries: TRIES });
        }
        is_whole
    }

    /// The identity of a process; `None` if it has not been read.
    pub fn get(&self, pid: u32, start_boottime: u64) -> Option<&Identity> {
        self.known.get(&(pid, start_boottime)).map(|known| &known.identity)
    }

    /// Reads whatever processes have these numbers now, without keeping anything.
    pub fn look_up(&mut self, pids: &[u32]) -> Vec<(u32, Identity)> {
        let read = read_all(pids.to_vec(), Identity::read_any);
        let read = pids.iter().zip(read).filter_map(|(&pid, identity)| {
            // One that cannot be read is there; one that is not has no folder.
            let mut identity = identity.unwrap_or(Some(Identity::UNKNOWN))?;
            self.pods.add_names(&mut identity);
            Some((pid, identity))
        });
        read.collect()
    }

    /// The whole command line of a process, where its identity has the beginning only; `None` where it
    /// cannot be read, or where too much has been read for this report.
    pub fn whole_command(&self, pid: u32) -> Option<String> {
        let left = self.whole_left.get();
        if left == 0 {
            return None;
        }
        let command = read_all([pid], super::whole_command).pop()???;
        self.whole_left.set(left.saturating_sub(command.len()));
        Some(command)
    }

    /// Returns true if a process is known, and remembers that somebody has asked for it.
    fn ask_for(&mut self, process: &Named<'_>) -> bool {
        let known = self.known.get_mut(&process.key());
        let Some(known) = known.filter(|known| known.comm == process.comm) else { return false };
        known.asked_in = self.report;
        let lacks_name = known.identity.pod_uid.is_some() && known.identity.container.is_none();
        if lacks_name && known.tries > 0 {
            known.tries -= 1;
            self.pods.add_names(&mut known.identity);
        }
        true
    }
}
