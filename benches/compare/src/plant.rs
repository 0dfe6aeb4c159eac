//! Children that hold descriptors: leaked sockets, healthy connections, and others.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::libc::linger;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrIn, bind, connect, recv,
    setsockopt, shutdown, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::role::{say, wait_for_end};

/// Peers that have shut down and not closed yet.
const LEAVING: usize = 50;
/// Port of the first peer. The others count on from it.
const FIRST_PORT: u16 = 10_000;

/// Number of sockets, or of connections.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of this holder: the peers of each have an address of their own
    #[arg(long)]
    holder: u16,
    #[arg(long)]
    sockets: u16,
}

/// Number of other descriptors.
#[derive(clap::Args)]
pub(crate) struct CrowdArgs {
    #[arg(long)]
    descriptors: usize,
}

/// The sockets of a holder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Planted {
    pub(crate) pid: u32,
    /// The holder's end of every connection.
    pub(crate) local: SocketAddrV4,
    /// The peer's end of the first connection. The others count on from its port.
    pub(crate) first_peer: SocketAddrV4,
    /// The descriptors, in the same order.
    pub(crate) fds: Vec<i32>,
}

/// Holds sockets in CLOSE_WAIT: accepted, their peers gone, never closed.
pub(crate) fn leaked(args: &Args) -> Result<()> {
    raise_limit()?;
    let (listener, local, first_peer) = listen(args.holder)?;
    let mut held = Vec::with_capacity(args.sockets.into());
    let mut leaving = VecDeque::new();
    for index in 0..args.sockets {
        let peer = peer(first_peer, index, local)?;
        let socket = listener.accept()?.0;
        shutdown(peer.as_raw_fd(), Shutdown::Write)?;
        wait_for_fin(&socket)?;
        held.push(socket);
        // The peer closes later. One in 10,000 that closes at once does so while the ACK of its
        // FIN arrives, and resets the connection.
        leaving.push_back(peer);
        if leaving.len() > LEAVING {
            leaving.pop_front();
        }
    }
    thread::sleep(Duration::from_millis(20));
    drop(leaving);
    say(&Planted {
        pid: process::id(),
        local,
        first_peer,
        fds: held.iter().map(AsRawFd::as_raw_fd).collect(),
    })?;
    wait_for_end()
}

/// Holds both ends of connections in use: each end has sent a byte and has read one.
pub(crate) fn healthy(args: &Args) -> Result<()> {
    raise_limit()?;
    let (listener, local, first_peer) = listen(args.holder)?;
    let mut held = Vec::with_capacity(args.sockets.into());
    for index in 0..args.sockets {
        let mut client = TcpStream::from(peer(first_peer, index, local)?);
        let mut server = listener.accept()?.0;
        // The first end to close resets the connection: none stays in TIME_WAIT for a minute.
        let reset = linger { l_onoff: 1, l_linger: 0 };
        for end in [&client, &server] {
            setsockopt(end, sockopt::Linger, &reset)?;
        }
        client.write_all(b"?")?;
        server.read_exact(&mut [0])?;
        server.write_all(b"!")?;
        client.read_exact(&mut [0])?;
        held.push((client, server));
    }
    say(&held.len())?;
    wait_for_end()
}

/// Holds descriptors that are not sockets, and that every tool has to look at.
pub(crate) fn crowd(args: &CrowdArgs) -> Result<()> {
    raise_limit()?;
    let null = File::open("/dev/null")?;
    let crowd = (0..args.descriptors).map(|_| null.try_clone()).collect::<Result<Vec<_>, _>>()?;
    say(&crowd.len())?;
    wait_for_end()
}

/// A listener, its address, and the address of a holder's first peer.
fn listen(holder: u16) -> Result<(TcpListener, SocketAddrV4, SocketAddrV4)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(local) = listener.local_addr()? else {
        bail!("not an IPv4 address");
    };
    let [high, low] = holder.to_be_bytes();
    let first_peer = SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), FIRST_PORT);
    Ok((listener, local, first_peer))
}

/// Connects the peer with this index. Its address is explicit: ports do not run out, and the truth
/// needs no list of them.
fn peer(first: SocketAddrV4, index: u16, to: SocketAddrV4) -> Result<OwnedFd> {
    let peer = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let from = SocketAddrV4::new(*first.ip(), first.port() + index);
    bind(peer.as_raw_fd(), &SockaddrIn::from(from))?;
    connect(peer.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(peer)
}

/// Waits for end-of-file with a peek, which leaves the FIN unread.
fn wait_for_fin(socket: &TcpStream) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    while recv(socket.as_raw_fd(), &mut [0], flags) != Ok(0) {
        if Instant::now() > deadline {
            bail!("a peer has shut down, and its FIN has not arrived");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Raises the limit on descriptors as far as it goes.
fn raise_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
