//! What this process may do, and what it must be allowed to do.

use caps::{CapSet, Capability};
use nix::unistd::Uid;

/// A capability, and what it is needed for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The capability.
    pub capability: Capability,
    /// What it is for.
    pub purpose: &'static str,
}

/// Without these nothing works.
pub const REQUIRED: [Need; 2] = [
    Need { capability: Capability::CAP_BPF, purpose: "load BPF programs" },
    Need { capability: Capability::CAP_PERFMON, purpose: "trace, and read kernel memory" },
];

/// Whether it is held. `CAP_SYS_ADMIN` includes those that were split off from it.
pub fn held(capability: Capability) -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    has(capability) || has(Capability::CAP_SYS_ADMIN)
}

/// The required capabilities that are not held.
pub fn missing() -> Vec<Capability> {
    REQUIRED.iter().map(|need| need.capability).filter(|&capability| !held(capability)).collect()
}

/// What to do about missing capabilities.
pub fn remedy() -> &'static str {
    if Uid::effective().is_root() {
        "run it on the host, or in a container that is given them"
    } else {
        "run it as root (sudo sockleak)"
    }
}
