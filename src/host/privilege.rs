//! Capabilities that this process has, and those that each feature needs.
//!
//! Found by trying on 6.18, tested on 5.10, 6.1, 6.12 and 7.3. The one place where it is written
//! down: errors, `doctor`, the manual and docs/privileges.md take it from here.

use std::os::unix::fs::MetadataExt;
use std::{fmt, fs, io};

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::Uid;

/// The inode of the host's user namespace: `PROC_USER_INIT_INO` in the kernel.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// A capability, and what it is needed for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The capability.
    pub capability: Capability,
    /// Its purpose.
    pub purpose: &'static str,
}

/// Something that sockleak does, and the least that it needs for it.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// The name of its check in `doctor`.
    pub name: &'static str,
    /// The feature in words.
    pub what: &'static str,
    /// All of these.
    pub needs: &'static [Need],
    /// The consequence where they are missing.
    pub without: &'static str,
}

/// Everything that reports: without these, nothing works.
pub const CORE: Feature = Feature {
    name: "capabilities",
    what: "list, watch, events, export, check, run",
    needs: &[
        Need { capability: Capability::CAP_BPF, purpose: "to load BPF programs" },
        Need {
            capability: Capability::CAP_PERFMON,
            purpose: "to trace, and to read kernel memory",
        },
    ],
    without: "nothing works (exit code 3)",
};

/// To lock as much memory as the maps take, where the kernel counts it.
pub const MEMORY: Feature = Feature {
    name: "capabilities-memory",
    what: "before Linux 5.11: more locked memory than `ulimit -l` allows",
    needs: &[Need { capability: Capability::CAP_SYS_RESOURCE, purpose: "to raise the limit" }],
    without: "it has to be raised before (`ulimit -l unlimited`)",
};

/// To make the self-test's leaks where they disturb nobody.
pub const SELF_TEST: Feature = Feature {
    name: "capabilities-self-test",
    what: "doctor: a network namespace of its own for the self-test",
    needs: &[
        Need { capability: Capability::CAP_SYS_ADMIN, purpose: "to make one" },
        Need { capability: Capability::CAP_NET_ADMIN, purpose: "to bring up its loopback" },
    ],
    without: "the self-test uses the present one's loopback",
};

/// To use `--btf` for what it is for.
pub const HIDDEN_BTF: Feature = Feature {
    name: "capabilities-btf",
    what: "--btf FILE where /sys/kernel/btf is hidden",
    needs: &[Need {
        capability: Capability::CAP_SYS_ADMIN,
        purpose: "to put the file there, in a mount namespace of its own",
    }],
    without: "--btf cannot be used (exit code 3)",
};

/// To tell which program another user's process runs, and where.
pub const PROCESSES: Feature = Feature {
    name: "capabilities-processes",
    what: "`exe` and network namespaces of other users' processes: in list, and in watch with filters on processes, -o exe or --group-by exe",
    needs: &[Need {
        capability: Capability::CAP_SYS_PTRACE,
        purpose: "to follow /proc/PID/exe and /proc/PID/ns/net, which root needs, too",
    }],
    without: "`exe` is null, and --exe exits with 4 (--not exe=… too), as other filters on processes do while any leak's \
              owner is unknown; command line, user, unit, container and pod remain",
};

/// All of them.
pub const FEATURES: [Feature; 5] = [CORE, MEMORY, SELF_TEST, HIDDEN_BTF, PROCESSES];

impl Feature {
    /// All that it needs, in words.
    pub fn names(&self) -> Missing {
        Missing { capabilities: self.needs.iter().map(|need| need.capability).collect() }
    }

    /// Its capabilities that are not held.
    pub fn missing(&self) -> Missing {
        let user_namespace = in_user_namespace();
        let is_missing = |capability: &Capability| user_namespace || !held(*capability);
        let needed = self.needs.iter().map(|need| need.capability);
        Missing { capabilities: needed.filter(is_missing).collect() }
    }
}

/// Capabilities that are not held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub capabilities: Vec<Capability>,
}

impl Missing {
    /// Returns true if nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.capabilities.is_empty()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, capability) in self.capabilities.iter().enumerate() {
            let and = if index > 0 { " and " } else { "" };
            write!(f, "{and}{capability}")?;
        }
        Ok(())
    }
}

/// Checks the capabilities without which nothing works.
///
/// # Errors
/// The missing capabilities.
pub fn check() -> Result<(), Missing> {
    let missing = CORE.missing();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(missing),
    }
}

/// Returns true if it is held. `CAP_SYS_ADMIN` includes those that were split off from it.
pub fn held(capability: Capability) -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let split_off = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON);
    has(capability) || split_off && has(Capability::CAP_SYS_ADMIN)
}

/// Returns true in a user namespace other than the host's. Capabilities that are held there count
/// only for resources of that namespace, and BPF is the host's.
pub fn in_user_namespace() -> bool {
    // A kernel without CONFIG_USER_NS has one namespace only.
    fs::metadata("/proc/self/ns/user").is_ok_and(|own| own.ino() != INITIAL_USER_NAMESPACE)
}

/// The remedy for missing capabilities.
pub fn remedy() -> &'static str {
    remedy_for(in_user_namespace())
}

/// The same where the user namespace is known.
pub fn remedy_for(in_user_namespace: bool) -> &'static str {
    if in_user_namespace {
        "run it on the host: in a user namespace (a rootless container) they do not count"
    } else if Uid::effective().is_root() {
        "run it on the host, or in a container that is given them"
    } else {
        "run it as root (sudo sockleak), or with these capabilities"
    }
}

/// Gives up every capability but these, for good: in this thread, and in those that it starts.
///
/// As root, and as a user who may run a setuid program, one exec() would bring all of them back: hence
/// `no_new_privs`, and an empty bounding set. And who is not dumpable lends what it keeps to no
/// debugger of the same user's.
///
/// # Errors
/// Where the kernel does not even allow that.
pub fn give_up_all_but(kept: &[Capability]) -> io::Result<()> {
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    empty_bounding_set()?;
    keep_only(kept)
}

/// Without CAP_SETPCAP it cannot be emptied, and `no_new_privs` has to do.
fn empty_bounding_set() -> io::Result<()> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        return Ok(());
    }
    // A capability that this kernel does not know is in no set.
    let is_in = |&one: &Capability| caps::has_cap(None, CapSet::Bounding, one).unwrap_or(false);
    let mut all = caps::all().into_iter().filter(is_in);
    all.try_for_each(|one| caps::drop(None, CapSet::Bounding, one)).map_err(failed)
}

/// Gives up every capability but these, until the next exec(): in this thread, and in those that it
/// starts.
///
/// # Errors
/// Where the kernel does not even allow that.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    // In this order: what is effective has to be permitted. The ambient set follows the others.
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let held = caps::read(None, set).map_err(failed)?;
        let rest: CapsHashSet = held.into_iter().filter(|held| kept.contains(held)).collect();
        caps::set(None, set, &rest).map_err(failed)?;
    }
    Ok(())
}

fn failed(error: CapsError) -> io::Error {
    io::Error::other(error.to_string())
}

/// The table of features and capabilities, as the manual shows it.
pub fn manual() -> String {
    let mut text = String::from("Privileges, each the least that works (root has them all):\n");
    for feature in FEATURES {
        text += &format!("  {}\n", feature.what);
        for need in feature.needs {
            text += &format!("      {} {}\n", need.capability, need.purpose);
        }
        text += &format!("      without: {}\n", feature.without);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A row of the table in docs/privileges.md.
    fn row(feature: &Feature) -> String {
        let needs =
            feature.needs.iter().map(|need| format!("`{}` {}", need.capability, need.purpose));
        let needs: Vec<_> = needs.collect();
        format!("| {} | {} | {} |", feature.what, needs.join("; "), feature.without)
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let page = include_str!("../../docs/privileges.md");
        for feature in FEATURES {
            assert!(page.contains(&row(&feature)), "no line {}", row(&feature));
        }
    }

    #[test]
    fn what_is_given_up_is_gone() {
        let rest = thread::spawn(|| {
            keep_only(&[Capability::CAP_BPF]).unwrap();
            [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient]
                .map(|set| caps::read(None, set).unwrap())
        });
        for set in rest.join().unwrap() {
            assert!(set.iter().all(|&held| held == Capability::CAP_BPF), "{set:?}");
        }
    }

    #[test]
    fn missing_ones_are_listed() {
        let missing = Missing { capabilities: vec![Capability::CAP_BPF, Capability::CAP_PERFMON] };
        assert_eq!(missing.to_string(), "CAP_BPF and CAP_PERFMON");
    }
}
