//! Limits of this process that would stop it halfway, each with the least that it needs.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors: BPF programs, maps and links, and what a scan opens at once; 30 were counted.
const DESCRIPTORS: u64 = 64;
/// Address space: 40 MiB were measured on a host with few sockets.
const ADDRESS_SPACE: u64 = 64 << 20;

/// A limit that is too low. Prints with its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLow {
    /// The limit of descriptors.
    Descriptors(u64),
    /// The limit of address space, in bytes.
    AddressSpace(u64),
}

impl fmt::Display for TooLow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(limit) => write!(
                f,
                "only {limit} descriptors may be open, and {DESCRIPTORS} are needed: raise the \
                 limit (ulimit -n 1024)"
            ),
            Self::AddressSpace(limit) => write!(
                f,
                "only {} MiB of memory may be mapped, and {} MiB are needed: raise the limit \
                 (ulimit -v unlimited)",
                limit >> 20,
                ADDRESS_SPACE >> 20
            ),
        }
    }
}

/// Raises the soft limit of descriptors as far as need be.
///
/// # Errors
/// The first limit that is too low.
pub fn check() -> Result<(), TooLow> {
    // Where a limit cannot be asked for, it does not count.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < DESCRIPTORS
        && (hard < DESCRIPTORS || setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).is_err())
    {
        return Err(TooLow::Descriptors(soft));
    }
    match getrlimit(Resource::RLIMIT_AS) {
        Ok((soft, _)) if soft < ADDRESS_SPACE => Err(TooLow::AddressSpace(soft)),
        _ => Ok(()),
    }
}
