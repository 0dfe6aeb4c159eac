//! The host's network namespaces, and how to look into them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{io, thread};

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps the namespaces that it names.
const NAMED: &str = "/run/netns";

/// Every network namespace that a process lives in or that has a name, by its inode, each with
/// a path to enter it by.
///
/// A process that ends meanwhile, or whose namespaces we may not see, is left out.
pub fn all() -> BTreeMap<u32, PathBuf> {
    let of_processes = entries("/proc")
        .filter(|path| is_pid(path))
        .map(|process| process.join("ns/net"));
    let named = entries(NAMED);
    let own = PathBuf::from("/proc/self/ns/net");
    of_processes
        .chain(named)
        .chain([own])
        .filter_map(|path| Some((inode(&path).ok()?, path)))
        .collect()
}

/// The inode that identifies the namespace behind a path.
///
/// # Errors
/// When the path cannot be looked up, or its inode is not one of a namespace.
pub fn inode(path: &Path) -> io::Result<u32> {
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
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
    })
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn is_pid(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_among_all() {
        let own = inode(Path::new("/proc/self/ns/net")).unwrap();
        assert!(all().contains_key(&own));
    }
}
