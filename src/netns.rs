//! The host's network namespaces, and how to look into them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{io, thread};

use caps::Capability;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::privilege;

/// Where `ip netns` keeps the namespaces that it names.
const NAMED: &str = "/run/netns";

/// The network namespaces of a host.
#[derive(Debug)]
pub struct Namespaces {
    /// Every one that a process lives in or that has a name, by its inode, each with a path to
    /// enter it by.
    pub known: BTreeMap<u32, PathBuf>,
    /// Whether there are processes whose namespaces we may not see.
    pub hidden: bool,
}

/// Looks for all namespaces. A process that ends meanwhile is left out.
pub fn all() -> Namespaces {
    let of_processes =
        entries("/proc").filter(|path| is_pid(path)).map(|process| process.join("ns/net"));
    let named = entries(NAMED);
    let own = PathBuf::from("/proc/self/ns/net");
    let mut found = Namespaces { known: BTreeMap::new(), hidden: false };
    for path in of_processes.chain(named).chain([own]) {
        match inode(&path) {
            Ok(inode) => _ = found.known.insert(inode, path),
            // Of a process that is just ending, the kernel says the same to those who may look.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.hidden |= !privilege::held(Capability::CAP_SYS_PTRACE);
            }
            Err(_) => {}
        }
    }
    found
}

/// The inode that identifies the namespace behind a path.
///
/// # Errors
/// When the path cannot be looked up, or is not that of a namespace.
pub fn inode(path: &Path) -> io::Result<u32> {
    let is_namespace = statfs(path)?.filesystem_type() == NSFS_MAGIC;
    // In /proc it is a link that says which kind it is; elsewhere it is the thing itself.
    let kind = fs::read_link(path).unwrap_or_default();
    let other = path.starts_with("/proc") && !kind.to_string_lossy().starts_with("net:");
    if !is_namespace || other {
        return Err(io::Error::other("it is not a network namespace"));
    }
    u32::try_from(fs::metadata(path)?.ino()).map_err(io::Error::other)
}

/// Calls `look` inside the namespace behind a path: on a thread of its own, so that this one
/// never leaves its namespace.
///
/// # Errors
/// Where the namespace cannot be opened or entered (that needs `CAP_SYS_ADMIN`).
pub fn inside<T: Send>(path: &Path, look: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(look())
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
    })
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_pid(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_namespace() {
        assert!(inode(Path::new("/dev/null")).is_err());
        assert!(inode(Path::new("/proc/self/ns/mnt")).is_err());
    }

    #[test]
    fn our_own_namespace_is_among_all() {
        let own = inode(Path::new("/proc/self/ns/net")).unwrap();
        assert!(all().known.contains_key(&own));
    }
}
