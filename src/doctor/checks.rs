//! Judges what the facts mean for sockleak. Pure.

use std::time::Duration;

use super::facts::{Facts, Types};
use super::{Check, Status};
use crate::host::pidns;
use crate::host::privilege::{self, CORE, Feature, HIDDEN_BTF, MEMORY, Missing};
use crate::probe::variants::{Group, KernelFacts, PROGRAMS, Program, queue_bound, surprises};

/// Memory of the maps, with the ring's default size, which old kernels count as locked.
const LOCKED_BYTES: u64 = 16 << 20;

const UPGRADE: &str = "use a newer kernel";

/// A line for each thing that matters, in the order in which they depend on each other.
pub fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![kernel(facts), btf(facts)];
    if let Ok(types) = &facts.types {
        checks.extend(of_types(types));
    }
    checks.extend(
        facts.missing.iter().map(|(feature, missing)| capabilities(facts, feature, missing)),
    );
    checks.extend([
        seccomp(facts.seccomp),
        user_namespace(facts),
        lockdown(facts),
        unprivileged_bpf(facts),
        pid_namespace(facts),
        proc(facts),
        tracefs(facts),
        tick(facts.tick),
        mptcp(facts),
    ]);
    checks
}

fn kernel(facts: &Facts) -> Check {
    let Facts { release, machine, .. } = facts;
    let detail = format!("Linux {release}, {machine}");
    match &facts.types {
        Ok(types) if !types.task_iterators => {
            Check::missing("kernel", format!("{detail}: BPF iterators came with Linux 5.8"))
                .remedy(UPGRADE)
        }
        _ => Check::ok("kernel", detail),
    }
}

fn btf(facts: &Facts) -> Check {
    match &facts.types {
        Ok(types) if types.from_file => Check::ok(
            "btf",
            "types are from the file; the self-test tells whether they are this kernel's",
        ),
        Ok(_) => Check::ok("btf", "the kernel's types are known"),
        Err(why) => {
            // Errors end with their remedy.
            let (detail, remedy) = why.rsplit_once(": ").unwrap_or((why, UPGRADE));
            Check::missing("btf", detail).remedy(remedy)
        }
    }
}

fn of_types(types: &Types) -> Vec<Check> {
    let need = |name, is_there, what: &str| match is_there {
        true => Check::ok(name, what),
        false => Check::missing(name, "not there: it came with Linux 5.8").remedy(UPGRADE),
    };
    let mut checks = vec![
        need("ring-buffer", types.ring_buffer, "brings transitions"),
        match types.tracepoint {
            true => Check::ok("tp_btf", "inet_sock_set_state can be attached to"),
            false => Check::missing("tp_btf", "there is no inet_sock_set_state to attach to")
                .remedy("use a kernel with CONFIG_NET, CONFIG_INET and CONFIG_BPF_EVENTS"),
        },
        need("iter/task", types.task_iterators, "tasks and their files can be walked"),
    ];
    checks.extend(WORK.iter().map(|work| work.check(types.kernel)));
    let surprises = surprises(types.kernel);
    let names: Vec<_> = surprises.iter().map(ToString::to_string).collect();
    checks.push(match names.is_empty() {
        true => Check::ok("layout", "structs and flags are as the programs expect them"),
        false => Check::limited("layout", names.join("; "))
            .remedy("report it: no kernel is known for it"),
    });
    checks
}

/// A part of the work, and the programs that do it: those that [`PROGRAMS`] has for this kernel.
struct Work {
    name: &'static str,
    groups: &'static [Group],
    what: &'static str,
    /// The message where no program can do it.
    without: &'static str,
}

const WORK: [Work; 6] = [
    Work {
        name: "transitions",
        groups: &[Group::Transitions],
        what: "report transitions as they happen",
        without: "transitions are not seen",
    },
    Work {
        name: "exits",
        groups: &[Group::Exits],
        what: "report processes that exit",
        without: "holders are as of the last scan, though they may have exited",
    },
    Work {
        name: "holders",
        groups: &[Group::Files, Group::Kept],
        what: "tell who holds which socket",
        without: "holders are not known",
    },
    Work {
        name: "accept-queues",
        groups: &[Group::Queues, Group::Queued],
        what: "walk accept queues to their end",
        without: "connections in accept queues cannot be found",
    },
    Work {
        name: "connections",
        groups: &[Group::Hash],
        what: "find sockets without a descriptor",
        without: "sockets without a descriptor cannot be found",
    },
    Work {
        name: "namespaces",
        groups: &[Group::Namespaces],
        what: "find network namespaces with a hash table of their own",
        without: "network namespaces with a hash table of their own are not looked into",
    },
];

impl Work {
    fn check(&self, kernel: KernelFacts) -> Check {
        let is_loaded =
            |program: &&Program| self.groups.contains(&program.group) && program.is_for(kernel);
        let programs: Vec<_> =
            PROGRAMS.iter().filter(is_loaded).map(|program| program.name).collect();
        let has_loop = kernel.contains(KernelFacts::LOOP);
        if !programs.is_empty() && self.groups.contains(&Group::Queues) && !has_loop {
            let bound = queue_bound(kernel);
            let detail = format!(
                "of an accept queue, the first {bound} connections are seen ({}): longer walks came \
                 with Linux 5.17",
                programs.join(", ")
            );
            return Check::limited(self.name, detail).remedy(UPGRADE);
        }
        if !programs.is_empty() {
            return Check::ok(self.name, format!("{}: {}", programs.join(", "), self.what));
        }
        if self.groups == [Group::Namespaces] && !kernel.contains(KernelFacts::OWN_TABLES) {
            return Check::ok(self.name, "no program is needed: one hash table serves all");
        }
        let why = match kernel.contains(KernelFacts::MAP_ITERATOR) {
            true => "the kernel's hash table is not as expected",
            false => "iter/bpf_map_elem came with Linux 5.9",
        };
        Check::limited(self.name, format!("{}: {why}", self.without)).remedy(UPGRADE)
    }
}

fn capabilities(facts: &Facts, feature: &Feature, missing: &Missing) -> Check {
    let name = feature.name;
    if name == MEMORY.name && !needs_more_locked_memory(facts) {
        return Check::ok(name, "none needed: enough memory may be locked, or needs not be");
    }
    if name == HIDDEN_BTF.name && facts.types.is_ok() {
        return Check::ok(name, "none needed: the kernel's types are known");
    }
    if missing.is_empty() {
        return Check::ok(name, format!("{} (for {})", feature.names(), feature.what));
    }
    let status = match name == CORE.name || name == MEMORY.name {
        true => Status::Missing,
        false => Status::Limited,
    };
    let detail = format!("no {missing} (for {}): {}", feature.what, feature.without);
    Check::new(name, status, detail).remedy(privilege::remedy_for(facts.in_user_namespace))
}

fn needs_more_locked_memory(facts: &Facts) -> bool {
    let counts = facts.types.as_ref().is_ok_and(|types| types.counts_locked_memory);
    counts && facts.files.locked_memory.is_some_and(|limit| limit < LOCKED_BYTES)
}

fn seccomp(refuses_bpf: Option<bool>) -> Check {
    let name = "seccomp";
    match refuses_bpf {
        Some(true) => Check::missing(name, "a container's filter refuses bpf()")
            .remedy(crate::host::seccomp::REMEDY),
        Some(false) => Check::ok(name, "no filter refuses bpf()"),
        None => Check::ok(name, "not known: without the capabilities, bpf() is refused anyway"),
    }
}

fn user_namespace(facts: &Facts) -> Check {
    match facts.in_user_namespace {
        false => Check::ok("user-namespace", "the host's"),
        true => Check::missing(
            "user-namespace",
            "a container's own: what is held in it does not count for BPF",
        )
        .remedy("run it on the host, or in a container that is not rootless"),
    }
}

fn lockdown(facts: &Facts) -> Check {
    let name = "lockdown";
    match facts.files.lockdown.as_deref() {
        Some("confidentiality") => {
            Check::missing(name, "confidentiality: BPF programs may not read kernel memory")
                .remedy("boot with lockdown=integrity, or without")
        }
        Some(mode) => Check::ok(name, mode),
        None if facts.files.has_mounted("securityfs") => Check::ok(name, "this kernel has none"),
        None => Check::ok(name, "not told here (securityfs is not mounted); the self-test knows"),
    }
}

fn unprivileged_bpf(facts: &Facts) -> Check {
    let detail = match facts.files.unprivileged_bpf_disabled {
        None => "not told here",
        Some(0) => "0: BPF is open to all, as far as it goes without privilege",
        Some(1) => "1: BPF needs CAP_BPF, until the next boot",
        Some(_) => "2: BPF needs CAP_BPF",
    };
    Check::ok("unprivileged_bpf_disabled", detail)
}

fn pid_namespace(facts: &Facts) -> Check {
    let name = "pid-namespace";
    let Some(own) = facts.files.pid_namespace else {
        return Check::missing(
            name,
            "not known: /proc is not there, or is that of a PID namespace that we are not in",
        )
        .remedy("mount -t proc proc /proc");
    };
    if own != pidns::INITIAL {
        return Check::limited(
            name,
            "a container's: only the processes in it are seen, and what others hold prints as \
             unknown",
        )
        .remedy(pidns::REMEDY);
    }
    Check::ok(name, "the host's: every process is seen")
}

/// `unshare --pid` without `--mount-proc` leaves the outer namespace's /proc in place.
fn proc(facts: &Facts) -> Check {
    match facts.files.proc_self == Some(facts.pid) {
        true => Check::ok("proc", "numbers processes as sockleak does"),
        false => Check::limited("proc", "is not that of our PID namespace: its numbers differ")
            .remedy("mount -t proc proc /proc"),
    }
}

/// Most tools of this kind need it, so it is asked for; a tp_btf program does not.
fn tracefs(facts: &Facts) -> Check {
    let mounted = match facts.files.has_mounted("tracefs") {
        true => "mounted",
        false => "not mounted",
    };
    Check::ok("tracefs", format!("{mounted} (sockleak does not use it)"))
}

fn tick(tick: Duration) -> Check {
    let name = "config_hz";
    let nanoseconds = tick.as_nanos();
    if nanoseconds == 0 {
        return Check::limited(
            name,
            "not known: ages of sockets that were there first are not bounded from above",
        );
    }
    let hz = (1_000_000_000 + nanoseconds / 2) / nanoseconds;
    let precision = nanoseconds.div_ceil(1_000_000);
    Check::ok(name, format!("{hz}: jiffies tell ages to {precision} ms"))
}

fn mptcp(facts: &Facts) -> Check {
    let built_in = facts.types.as_ref().is_ok_and(|types| types.mptcp);
    let detail = match (built_in, facts.files.mptcp_enabled) {
        (true, Some(true)) => "enabled: its TCP subflows are found",
        (true, Some(false)) => "not enabled",
        (true, None) => "not known here: its TCP subflows are found",
        (false, _) => "this kernel has none",
    };
    Check::ok("mptcp", detail)
}

#[cfg(test)]
mod tests;
