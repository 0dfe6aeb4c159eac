//! Who a filter on processes, or on network namespaces, asks for, as /proc has it.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::host::identity::{AT_ONCE, Identities, Identity, Named};
use crate::host::process::{self, Kind};
use crate::host::{netns, pidns};
use crate::live::table::Table;
use crate::report::filter::{Filter, Pattern, has_exe, is_in_container, is_in_unit};
use crate::sock::event::Process;

/// Keeps a filter up to date with the processes that there are.
#[derive(Debug)]
pub(super) struct Asked {
    /// The full names of processes, each with its start and its short name: those of another program
    /// are read anew.
    names: BTreeMap<u32, (u64, String, Vec<String>)>,
    /// The network namespaces in which processes that can be seen live, or hold sockets; where only these
    /// are asked for.
    visible: Option<BTreeSet<u32>>,
    /// How many processes may be read to find where those live that are asked for.
    most: usize,
}

impl Asked {
    /// Without the host's PID namespace, and unless others are asked for, only network namespaces
    /// count whose processes can be seen. To be called before privileges are given up: later, /proc
    /// shows the namespaces of few.
    pub(super) fn new(filter: &Filter) -> Self {
        let is_narrowed = filter.netns.is_empty() && pidns::is_inner();
        let visible = is_narrowed.then(|| visible().collect());
        Self { names: BTreeMap::new(), visible, most: usize::MAX }
    }

    /// For a report again and again: each reads a bounded number of processes, however many there are.
    pub(super) fn repeated(filter: &Filter) -> Self {
        Self { most: AT_ONCE, ..Self::new(filter) }
    }

    /// True if only the network namespaces of processes that can be seen are asked for.
    pub(super) fn is_narrowed(&self) -> bool {
        self.visible.is_some()
    }

    /// Tells the filter which processes are asked for, and where they live. Returns false if there was
    /// no time to look at all processes: then the next call goes on.
    pub(super) fn update(
        &mut self,
        filter: &mut Filter,
        table: &Table,
        identities: &mut Identities,
    ) -> bool {
        identities.begin();
        if let Some(known) = &mut self.visible {
            let held = table.socks().filter(|(_, tracked)| !table.holders(tracked).is_empty());
            known.extend(visible().chain(held.map(|(_, tracked)| tracked.conn.netns)));
            filter.netns = known.iter().copied().collect();
        }
        if filter.asks_for_names() {
            let known = std::mem::take(&mut self.names);
            for (pid, process) in table.processes() {
                let (start, comm) = (process.start_time, &*process.comm);
                let same = known.get(&pid).filter(|known| (known.0, &*known.1) == (start, comm));
                let names = same.map_or_else(|| process::full_names(pid), |same| same.2.clone());
                self.names.insert(pid, (start, comm.to_owned(), names));
            }
            filter.set_named(self.names.iter().map(|(&pid, (.., names))| (pid, &**names)));
        }
        let mut all_are_read = true;
        if filter.asks_whose() {
            all_are_read = identities.read(table.processes().map(named));
            let known = |(pid, process): (u32, &Process)| {
                (pid, identities.get(pid, process.start_boottime))
            };
            let known: Vec<_> = table.processes().map(known).collect();
            filter.set_identities(&known, &|pid| identities.whole_command(pid));
        }
        filter.homes = None;
        let is_known = !table.has_missing_owners() && !table.has_omitted_holders();
        if filter.is_on_processes() && !is_known {
            filter.homes = homes(filter, identities, self.most);
        }
        all_are_read
    }
}

/// The network namespaces of processes that /proc shows, and our own.
fn visible() -> impl Iterator<Item = u32> {
    process::all().filter_map(process::network_namespaces).flatten().chain(netns::own())
}

fn named((pid, process): (u32, &Process)) -> Named<'_> {
    let Process { start_boottime, comm, uid, .. } = process;
    Named { pid, start_boottime: *start_boottime, comm, uid: *uid }
}

/// How many of the processes that are asked for have files in the tables of io_urings; 0 where all
/// processes are.
pub(super) fn with_rings(filter: &Filter, identities: &mut Identities) -> usize {
    if !filter.is_on_processes() {
        return 0;
    }
    let asked_for = asked_for(filter, identities, usize::MAX).into_iter().flatten();
    asked_for.filter(|&pid| process::has_files_in_rings(pid)).count()
}

/// The processes that are asked for, or may be; `None` where more than `most` would have to be read.
fn asked_for(filter: &Filter, identities: &mut Identities, most: usize) -> Option<Vec<u32>> {
    let Filter { pid: pids, comm, uid, whose, .. } = filter;
    let named = process::all().filter(|pid| {
        (pids.is_empty() || pids.contains(pid))
            && (comm.is_empty() || comm.iter().any(|name| process::has_name(*pid, name)))
            && (uid.is_empty() || process::user(*pid).is_some_and(|user| uid.contains(&user)))
    });
    let named: Vec<_> = named.collect();
    if whose.is_empty() {
        return Some(named);
    }
    if named.len() > most {
        return None;
    }
    let all = identities.look_up(&named).into_iter();
    let may_match = |pid: u32, one: &Identity| {
        whose.matches(one, &|| identities.whole_command(pid)) != Some(false)
    };
    Some(all.filter(|(pid, one)| may_match(*pid, one)).map(|(pid, _)| pid).collect())
}

/// The network namespaces of the processes that are asked for; `None` where we may not know all.
fn homes(filter: &Filter, identities: &mut Identities, most: usize) -> Option<BTreeSet<u32>> {
    let mut homes = BTreeSet::new();
    for pid in asked_for(filter, identities, most)? {
        // One that has ended meanwhile holds nothing.
        match process::network_namespaces(pid) {
            Some(found) => homes.extend(found),
            None if process::kind(pid).is_none() => {}
            None => return None,
        }
    }
    Some(homes)
}

/// Says of each number that is no process's what it is.
pub(super) fn no_processes(pids: &[u32]) -> Vec<String> {
    pids.iter().filter_map(|&pid| Some((pid, no_process(pid)?))).map(of_pid).collect()
}

fn of_pid((pid, why): (u32, String)) -> String {
    let give = "give the number of a process, as `ps` prints it";
    format!("invalid value '{pid}' for '--pid <PID>': {why}; {give}")
}

fn no_process(pid: u32) -> Option<String> {
    match process::kind(pid) {
        Some(Kind::Process) => None,
        Some(Kind::ThreadOf(leader)) => Some(format!("it is a thread of process {leader}")),
        Some(Kind::Zombie) => Some("it is a zombie, and holds nothing".to_owned()),
        // /proc may hide what is not ours.
        None => {
            let number = i32::try_from(pid).ok().filter(|&pid| pid > 0);
            match number.map(|pid| kill(Pid::from_raw(pid), None)) {
                Some(Ok(()) | Err(Errno::EPERM)) => None,
                _ => Some("there is no such process here".to_owned()),
            }
        }
    }
}

/// Says which names no process has, and which network namespaces there are not; `all` are those that
/// there are, where that is known.
pub(super) fn nobody(
    filter: &Filter,
    table: &Table,
    all: Option<&BTreeSet<u32>>,
    identities: &mut Identities,
) -> Vec<String> {
    let has = |name: &str| {
        table.processes().any(|(_, process)| &*process.comm == name)
            || process::all().any(|pid| process::has_name(pid, name))
    };
    let names = filter.comm.iter().filter(|name| !has(name)).map(|name| {
        format!(
            "invalid value '{name}' for '--comm <NAME>': no process has this name; give one that \
             `ps -o comm` prints, or the name of an executable"
        )
    });
    let is_gone = |netns: &&u32| all.is_some_and(|all| !all.contains(netns));
    let gone = filter.netns.iter().filter(is_gone).map(|netns| {
        format!(
            "invalid value '{netns}' for '--netns <NETNS>': there is no such network namespace; \
             give an inode, or a path such as /run/netns/NAME or /proc/PID/ns/net"
        )
    });
    names.chain(gone).chain(nobody_like(filter, identities)).collect()
}

/// Says which executables, commands, units, containers and pods no process has.
fn nobody_like(filter: &Filter, identities: &mut Identities) -> Vec<String> {
    let whose = &filter.whose;
    if whose.is_empty() {
        return Vec::new();
    }
    let mut all = identities.look_up(&process::all().collect::<Vec<_>>());
    all.retain(|(_, identity)| !identity.known.ended);
    let repeat_ours = that_repeat_ours(&all);
    let is_nobody = |matches: &dyn Fn(&Identity) -> Option<bool>| {
        all.iter().all(|(_, identity)| matches(identity) == Some(false))
    };
    let has_command = |cmd: &Pattern| {
        let others = all.iter().filter(|(pid, _)| !repeat_ours.contains(pid));
        let has = |(pid, of): &(u32, Identity)| {
            cmd.is_in_command_of(of, &|| identities.whole_command(*pid)) != Some(false)
        };
        others.into_iter().any(has)
    };
    let mut wrong = Vec::new();
    let mut say = |value: &dyn std::fmt::Display, option: &str, why: &str| {
        wrong.push(format!("invalid value '{value}' for '{option}': {why}"));
    };
    for exe in whose.exe.iter().filter(|exe| is_nobody(&|of| has_exe(of, exe))) {
        let why = "no process runs it; give the path of an executable, or its base name";
        say(exe, "--exe <PATH>", why);
    }
    for cmd in whose.cmd.iter().filter(|cmd| !has_command(cmd)) {
        let why = "no command line has it; give words that `ps -o args` prints, with * between them \
                   for anything";
        say(&cmd.as_str(), "--cmd <PATTERN>", why);
    }
    for unit in whose.unit.iter().filter(|unit| is_nobody(&|of| is_in_unit(of, unit))) {
        say(unit, "--unit <UNIT>", "no process is in it; give a unit that `systemctl` lists");
    }
    for one in whose.container.iter().filter(|one| is_nobody(&|of| is_in_container(of, one))) {
        let why = "no process is in it; give the first digits of a container's ID, or the name of a \
                   container of a pod";
        say(one, "--container <CONTAINER>", why);
    }
    for pod in whose.pod.iter().filter(|pod| is_nobody(&|of| pod.has(of))) {
        let why = "no process is in it; give NAMESPACE/NAME, as `kubectl get pods -A` prints them";
        say(pod, "--pod <NAMESPACE/NAME>", why);
    }
    wrong
}

/// The processes whose command lines have each pattern in them because ours has: ourselves, and `sudo`,
/// `timeout` or the shell that has started us.
fn that_repeat_ours(all: &[(u32, Identity)]) -> BTreeSet<u32> {
    let ours: Vec<_> = std::env::args_os().map(|one| one.to_string_lossy().into_owned()).collect();
    let Some((program, arguments)) = ours.split_first() else { return BTreeSet::new() };
    let program = program.rsplit('/').next().unwrap_or_default();
    let ends_like_ours = all.iter().filter(|(_, of)| arguments_of(of).ends_with(arguments));
    let mut repeating: BTreeSet<_> = ends_like_ours.map(|(pid, _)| *pid).collect();
    // A shell has all of it in one argument.
    let mut pid = std::process::id();
    for _ in all {
        repeating.insert(pid);
        let parent = all.iter().find(|(one, _)| *one == pid).and_then(|(_, of)| of.ppid);
        let names_us = |(one, of): &&(u32, Identity)| {
            Some(*one) == parent && arguments_of(of).iter().any(|one| one.contains(program))
        };
        let Some((parent, _)) = all.iter().find(names_us) else { break };
        pid = *parent;
    }
    repeating
}

fn arguments_of(identity: &Identity) -> &[String] {
    identity.cmdline.as_deref().unwrap_or_default()
}
