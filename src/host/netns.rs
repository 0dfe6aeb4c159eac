//! Network namespaces.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

const OWN: &str = "/proc/thread-self/ns/net";

/// The one that this thread is in; `None` where /proc does not tell.
pub fn own() -> Option<u32> {
    inode(Path::new(OWN)).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_namespace() {
        assert!(inode(Path::new("/dev/null")).is_err());
        assert!(inode(Path::new("/proc/self/ns/mnt")).is_err());
    }

    #[test]
    fn our_own_namespace_is_that_of_this_process() {
        assert_eq!(own(), inode(Path::new("/proc/self/ns/net")).ok());
    }
}
