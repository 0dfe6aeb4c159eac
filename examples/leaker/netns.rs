//! A network namespace of our own, and its loopback device.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Loopback is the first device of every namespace.
const LOOPBACK: i32 = 1;

/// Moves the process to a new network namespace with its loopback up.
pub(crate) fn enter_new() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a new network namespace needs root")?;
    set_loopback(true)
}

/// The inode that names the process's network namespace.
pub(crate) fn inode() -> Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

/// Takes loopback up or down, with an RTM_NEWLINK message.
pub(crate) fn set_loopback(up: bool) -> Result<()> {
    let flag = u32::try_from(libc::IFF_UP)?;
    let mut message = Vec::new();
    // struct nlmsghdr, with the message's whole length first
    message.extend(32u32.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK)?.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type unspecified, then index, flags, and which flags to change
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(if up { flag } else { 0 }.to_ne_bytes());
    message.extend(flag.to_ne_bytes());

    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsgerr follows the header; its first field is a negative errno, 0 for done
    let Some(code) = answer[..length].get(16..20) else { bail!("a short answer from rtnetlink") };
    match i32::from_ne_bytes(code.try_into()?) {
        0 => Ok(()),
        code => Err(Errno::from_raw(-code)).context("setting loopback's flags"),
    }
}
