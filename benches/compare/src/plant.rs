//! Children that hold things: leaked sockets, and descriptors that have nothing to do with them.

use std::collections::VecDeque;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrIn, bind, connect, recv,
    shutdown, socket,
};
use serde::{Deserialize, Serialize};

use crate::role::{say, wait_for_end};

/// So many peers linger.
const LEAVING: usize = 50;
/// Peers count their ports from here.
const FIRST_PORT: u16 = 10_000;

/// What to hold.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which of the holders this is: each has peers with an address of its own
    #[arg(long)]
    holder: u16,
    #[arg(long)]
    sockets: u16,
}

/// What to hold.
#[derive(clap::Args)]
pub(crate) struct CrowdArgs {
    #[arg(long)]
    descriptors: usize,
}

/// What a holder holds, exactly.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Planted {
    pub(crate) pid: u32,
    /// Our end of every connection.
    pub(crate) local: SocketAddrV4,
    /// The peer's end of the first; the others count on from its port.
    pub(crate) first_peer: SocketAddrV4,
    /// The descriptors, in the same order.
    pub(crate) fds: Vec<i32>,
}

/// Holds sockets in CLOSE_WAIT: accepted, their peers gone, never closed.
pub(crate) fn plant(args: &Args) -> Result<()> {
    raise_limit()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let std::net::SocketAddr::V4(local) = listener.local_addr()? else {
        bail!("not an IPv4 address");
    };
    let [high, low] = args.holder.to_be_bytes();
    let source = Ipv4Addr::new(127, 1, high, low);
    let mut held = Vec::with_capacity(args.sockets.into());
    let mut leaving = VecDeque::new();
    for index in 0..args.sockets {
        // Explicit addresses: ports do not run out, and the truth needs no list of them.
        let peer = peer(SocketAddrV4::new(source, FIRST_PORT + index), local)?;
        let socket = listener.accept()?.0;
        shutdown(peer.as_raw_fd(), Shutdown::Write)?;
        wait_for_fin(&socket)?;
        held.push(socket);
        // Only later does the peer vanish: one in 10,000 that closes at once meets the ACK of its
        // FIN on the way out, and resets the connection.
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
        first_peer: SocketAddrV4::new(source, FIRST_PORT),
        fds: held.iter().map(AsRawFd::as_raw_fd).collect(),
    })?;
    wait_for_end()
}

/// Holds descriptors that every tool has to look at, and that are no sockets.
pub(crate) fn crowd(args: &CrowdArgs) -> Result<()> {
    raise_limit()?;
    let null = File::open("/dev/null")?;
    let crowd = (0..args.descriptors).map(|_| null.try_clone()).collect::<Result<Vec<_>, _>>()?;
    say(&crowd.len())?;
    wait_for_end()
}

fn peer(from: SocketAddrV4, to: SocketAddrV4) -> Result<OwnedFd> {
    let peer = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(peer.as_raw_fd(), &SockaddrIn::from(from))?;
    connect(peer.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(peer)
}

/// A FIN shows as end-of-file, which a peek leaves unread.
fn wait_for_fin(socket: &TcpStream) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    while recv(socket.as_raw_fd(), &mut [0], flags) != Ok(0) {
        if Instant::now() > deadline {
            bail!("a peer has closed, and its FIN has not arrived");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn raise_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
