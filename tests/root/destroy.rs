//! Destroys a connection as `ss -K` does. `ss` itself is not on every machine where the tests run.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket as new_socket,
};

/// From <linux/sock_diag.h>.
const SOCK_DESTROY: u16 = 21;

/// Destroys the end at `local` of a connection in the thread's network namespace.
pub(crate) fn socket(local: &str, remote: &str) -> io::Result<()> {
    let (local, remote): (SocketAddr, SocketAddr) =
        (local.parse().unwrap(), remote.parse().unwrap());
    let mut message = Vec::new();
    // struct nlmsghdr
    message.extend(72u32.to_ne_bytes());
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend(u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap().to_ne_bytes());
    message.extend([0; 8]);
    // struct inet_diag_req_v2: family, protocol, two bytes unused, any state
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    message.extend([u8::try_from(family).unwrap(), 6, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    // struct inet_diag_sockid: ports, addresses, any interface, any cookie
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(sixteen_bytes(local.ip()));
    message.extend(sixteen_bytes(remote.ip()));
    message.extend([0; 4]);
    message.extend([0xff; 8]);

    let netlink = new_socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match i32::from_ne_bytes(answer[..length][16..20].try_into().unwrap()) {
        0 => Ok(()),
        code => Err(Errno::from_raw(-code).into()),
    }
}

fn sixteen_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}
