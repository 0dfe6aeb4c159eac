//! How each dead socket of a command ended: gathered from records, judged at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::leak::{Ended, Leak, dead_for, judge_dead};
use crate::sock::age::Tick;
use crate::sock::conn::SockPtr;
use crate::sock::dead::{Call, Dead, Exit, Followed, ProcessId, Program};
use crate::sock::event::Pid;
use crate::sock::leak::{Class, Verdict};

/// How many dead sockets are kept at the most; a run that leaks more has had its answer.
const KEPT: usize = 1 << 17;

/// How many programs are kept before those that have ended are looked for.
const MANY_PROGRAMS: usize = 1 << 14;

/// Rules of judgement; times in ns.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A socket that is closed so soon after its end is no leak.
    pub min_age: u64,
    /// A close() so shortly before its process's exit is no close in time.
    pub teardown: u64,
    /// The kernel's tick.
    pub tick: Tick,
}

/// Facts that the records have told so far.
#[derive(Debug, Default)]
pub struct Ends {
    programs: HashMap<u64, Program>,
    /// How many programs were left when it was last looked for those that have ended.
    left: usize,
    exits: HashMap<ProcessId, Exit>,
    closed: Vec<Dead>,
    held: Vec<Dead>,
    queued: Vec<Dead>,
    listeners: Vec<Dead>,
    dropped: u64,
    records: u64,
}

/// The dead sockets, judged.
#[derive(Debug, Default)]
pub struct Judged {
    /// Ends of sockets that are leaked or stranded, in the order of their ends.
    pub leaks: Vec<Leak>,
    /// How many were dead too shortly at the end for anybody to tell.
    pub too_young: u64,
}

impl Ends {
    /// Takes a record.
    pub fn absorb(&mut self, record: Followed) {
        self.records += 1;
        match record {
            Followed::Program(program) => drop(self.programs.insert(program.id, program)),
            Followed::Exit(exit) => drop(self.exits.insert(exit.process, exit)),
            Followed::Closed(dead) if self.closed.len() >= KEPT => {
                drop(dead);
                self.dropped += 1;
            }
            Followed::Closed(dead) => self.closed.push(dead),
            Followed::Held(dead) => self.held.push(dead),
            Followed::Queued(dead) => self.queued.push(dead),
            Followed::Listener(listener) => self.listeners.push(listener),
        }
    }

    /// True if it is time to look for programs that have ended: a long build executes a million.
    pub fn has_many_programs(&self) -> bool {
        self.programs.len() >= MANY_PROGRAMS.max(2 * self.left)
    }

    /// Programs that none of these is, or ran before: those that processes run at the moment.
    pub fn programs_besides(&self, running: &HashSet<u64>) -> Vec<u64> {
        let before = running.iter().filter_map(|id| Some(self.programs.get(id)?.before));
        let known: HashSet<u64> = before.chain(running.iter().copied()).collect();
        self.programs.keys().copied().filter(|id| !known.contains(id)).collect()
    }

    /// Forgets those of these programs that have not leaked.
    pub fn forget_programs(&mut self, ended: Vec<u64>) {
        let leaks = [&self.closed, &self.held, &self.listeners].into_iter().flatten();
        let mut leaking: HashSet<u64> = leaks.map(|dead| dead.program).collect();
        let before = leaking.iter().filter_map(|id| Some(self.programs.get(id)?.before));
        leaking.extend(before.collect::<Vec<_>>());
        for id in ended.into_iter().filter(|id| !leaking.contains(id)) {
            self.programs.remove(&id);
        }
        self.left = self.programs.len();
    }

    /// How many leaks came for which there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many records have come.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Judges them all.
    pub fn judge(&self, rules: &Rules) -> Judged {
        let mut judged = Judged::default();
        for dead in &self.closed {
            judged.leaks.extend(self.closed_leak(dead, rules));
        }
        self.judge_survivors(rules, &mut judged);
        judged
    }

    fn closed_leak(&self, dead: &Dead, rules: &Rules) -> Option<Leak> {
        let mut leak = leak(dead, rules)?;
        leak.by_exec = dead.call.is_some_and(is_exec);
        let program = self.programs.get(&dead.program);
        let program = match leak.by_exec {
            // The new program has nothing to do with it.
            true => program.and_then(|new| self.programs.get(&new.before)),
            false => program,
        };
        if let Some(program) = program {
            leak.args.clone_from(&program.args);
            if leak.by_exec {
                leak.comm.clone_from(&program.comm);
            }
        }
        if dead.is_by_exit || leak.by_exec {
            leak.ended = Ended::AtExit;
            leak.fds = dead.fd.filter(|_| dead.is_by_exit).into_iter().collect();
            return Some(leak);
        }
        leak.fds =
            dead.call.and_then(closed_fd).filter(|_| !dead.is_unaccepted).into_iter().collect();
        let exit = self.exits.get(&dead.process);
        leak.before_exit = exit.map(|exit| time_between(dead, exit));
        match leak.before_exit {
            Some(before) if before <= rules.teardown => leak.ended = Ended::AtTeardown,
            _ => leak.before_exit = None,
        }
        Some(leak)
    }

    /// Adds what survivors hold: a row for each process that has a socket; for what waits in an accept
    /// queue, one.
    fn judge_survivors(&self, rules: &Rules, judged: &mut Judged) {
        let mut rows: BTreeMap<(SockPtr, Pid), Leak> = BTreeMap::new();
        let mut young = HashSet::new();
        // A survivor may have closed it since.
        let closed: HashSet<_> =
            self.closed.iter().map(|dead| (dead.sock.sock, dead.since)).collect();
        for dead in &self.held {
            let key = (dead.sock.sock, dead.process.pid);
            if closed.contains(&(dead.sock.sock, dead.since)) {
                continue;
            }
            if let Some(row) = rows.get_mut(&key) {
                // Threads whose leader has exited are shown one by one.
                let is_new = |fd: &u32| !row.fds.contains(fd);
                let new = dead.fd.filter(is_new);
                row.fds.extend(new);
                continue;
            }
            if dead.since.is_some() && dead_for(dead, rules.tick) < rules.min_age {
                young.insert(dead.sock.sock);
            } else if let Some(row) = self.still_held(dead, rules) {
                rows.insert(key, row);
            }
        }
        for dead in &self.queued {
            let Some(listener) = self.listener_of(dead) else { continue };
            let Dead { process, program, uid, fd, .. } = *listener;
            let comm = listener.comm.clone();
            let dead = Dead { process, program, uid, fd, comm, ..dead.clone() };
            if dead_for(&dead, rules.tick) < rules.min_age {
                young.insert(dead.sock.sock);
            } else if let Some(row) = self.still_held(&dead, rules) {
                rows.insert((dead.sock.sock, process.pid), row);
            }
        }
        judged.too_young += young.len() as u64;
        judged.leaks.extend(rows.into_values());
    }

    fn still_held(&self, dead: &Dead, rules: &Rules) -> Option<Leak> {
        let mut leak = leak(dead, rules)?;
        leak.ended = Ended::StillHeld;
        leak.fds = dead.fd.into_iter().collect();
        if let Some(program) = self.programs.get(&dead.program) {
            leak.args.clone_from(&program.args);
        }
        Some(leak)
    }

    /// The listener in whose queue a socket waits, in the hands of its oldest holder.
    fn listener_of(&self, dead: &Dead) -> Option<&Dead> {
        let (local, netns) = (dead.conn.local, dead.conn.netns);
        let is_it = |listener: &&Dead| {
            let at = listener.sock.conn;
            at.netns == netns
                && at.local.port == local.port
                && (at.local.addr().is_unspecified() || at.local.addr() == local.addr())
        };
        let all = self.listeners.iter().filter(is_it);
        all.min_by_key(|listener| listener.process.start_time)
    }
}

/// How long after a close() its process exited, without the time for which it waited for a CPU.
fn time_between(closed: &Dead, exit: &Exit) -> u64 {
    let waited = exit.waited.saturating_sub(closed.waited);
    exit.ktime.saturating_sub(closed.sock.stamps.ktime).saturating_sub(waited)
}

/// A dead socket, if it counts.
fn leak(dead: &Dead, rules: &Rules) -> Option<Leak> {
    let judgement = judge_dead(dead, rules.min_age, rules.tick);
    let is_old = dead_for(dead, rules.tick) >= rules.min_age;
    (is_old && judgement.0 != Class::InUse).then(|| Leak::new(dead, judgement, rules.tick))
}

/// Counts stranded sockets by verdict.
pub fn count_stranded(leaks: &[Leak]) -> BTreeMap<Verdict, usize> {
    let mut counts = BTreeMap::new();
    for verdict in leaks.iter().filter(|leak| leak.class == Class::Stranded) {
        if let Some(verdict) = verdict.verdict {
            *counts.entry(verdict).or_default() += 1;
        }
    }
    counts
}

fn is_exec(call: Call) -> bool {
    [nix::libc::SYS_execve, nix::libc::SYS_execveat].contains(&call.number)
}

/// The descriptor that a system call closes, where it is one of those that name it.
fn closed_fd(call: Call) -> Option<u32> {
    let argument = match call.number {
        nix::libc::SYS_close => 0,
        nix::libc::SYS_dup3 => 1,
        #[cfg(target_arch = "x86_64")]
        nix::libc::SYS_dup2 => 1,
        _ => return None,
    };
    u32::try_from(call.args[argument]).ok()
}

#[cfg(test)]
mod tests;
