//! The host's network namespaces, and how to look into them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{io, thread};

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

/// Where `ip netns` keeps the namespaces that it names.
const NAMED: &str = "/run/netns";
const OWN: &str = "/proc/thread-self/ns/net";

/// Every network namespace that a process lives in or that has a name, by its inode, each with
/// a path to enter it by.
///
/// A process that ends meanwhile, or that we may not look at, is left out.
pub fn all() -> BTreeMap<u32, PathBuf> {
    let of_processes =
        entries("/proc").filter(|path| is_pid(path)).map(|process| process.join("ns/net"));
    with_inodes(of_processes).chain(named()).chain(with_inodes([PathBuf::from(OWN)])).collect()
}

/// Those that have a name.
pub fn named() -> impl Iterator<Item = (u32, PathBuf)> {
    with_inodes(entries(NAMED))
}

/// The one that this thread is in; `None` where /proc does not tell.
pub fn own() -> Option<u32> {
    inode(Path::new(OWN)).ok()
}

fn with_inodes(paths: impl IntoIterator<Item = PathBuf>) -> impl Iterator<Item = (u32, PathBuf)> {
    paths.into_iter().filter_map(|path| Some((inode(&path).ok()?, path)))
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

/// Moves this process, which must have one thread only, to a new network namespace with its
/// loopback up.
///
/// # Errors
/// Where it may not (that needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`).
pub fn enter_new() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    set_loopback(true)
}

/// Takes loopback, which is the first device of every namespace, up or down, with an
/// `RTM_NEWLINK` message.
///
/// # Errors
/// Where it may not (that needs `CAP_NET_ADMIN`).
pub fn set_loopback(up: bool) -> io::Result<()> {
    const LOOPBACK: u32 = 1;
    const UP: u32 = libc::IFF_UP as u32;
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, and two numbers that we leave to the kernel
    message.extend(32_u32.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: no family, no type; index, flags, and which of them to change
    message.extend([0; 4]);
    for word in [LOOPBACK, if up { UP } else { 0 }, UP] {
        message.extend(word.to_ne_bytes());
    }
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 256];
    recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsgerr follows the header, and begins with a negative errno, or 0
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
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
        assert!(all().contains_key(&own().unwrap()));
    }
}
