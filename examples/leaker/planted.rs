//! Making connections, and bringing them into a condition for certain before a test looks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::order::Family;
use crate::uninterrupted;

/// How long a packet may take on loopback. Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// IPv4 clients come from the addresses that follow. All have as many digits as an address can have.
const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 100, 100, 100);

/// One connection, as the side that leaks it sees it.
#[derive(Serialize)]
pub(crate) struct Planted {
    /// None while it waits to be accepted
    pub(crate) fd: Option<RawFd>,
    /// The other end, where it is still open
    pub(crate) peer: Option<RawFd>,
    pub(crate) local: String,
    pub(crate) remote: String,
}

impl Planted {
    /// `remote` as accept() or connect() had it: a connection that is reset does not tell any more.
    pub(crate) fn of(socket: &Socket, remote: SocketAddr) -> Result<Self> {
        Ok(Self {
            fd: Some(socket.as_raw_fd()),
            peer: None,
            local: printed(address(&socket.local_addr()?)?),
            remote: printed(remote),
        })
    }
}

/// A listening socket of one family, and the clients that fit it.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    family: Family,
    client_protocol: Protocol,
    /// Each client comes from the next address, so that local ports never run out
    clients: u32,
}

impl Listener {
    pub(crate) fn new(
        family: Family,
        at: Option<IpAddr>,
        backlog: i32,
        protocol: Protocol,
        client_protocol: Protocol,
    ) -> Result<Self> {
        let (domain, mut address) = match family {
            Family::V4 => (Domain::IPV4, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            Family::V6 => (Domain::IPV6, SocketAddr::from((Ipv6Addr::LOCALHOST, 0))),
            Family::Dual => (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        if let Some(at) = at {
            address.set_ip(at);
        }
        // `_raw` here and in accept(): children and a new program must inherit the descriptor.
        let socket = Socket::new_raw(domain, Type::STREAM, Some(protocol))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(family == Family::V6)?;
        }
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(Self { socket, family, client_protocol, clients: 0 })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        address(&self.socket.local_addr()?)
    }

    /// A client's socket, and where it has to connect to.
    pub(crate) fn client(&mut self) -> Result<(Socket, SocketAddr)> {
        let mut server = self.address()?;
        if self.family == Family::V6 {
            return Ok((
                Socket::new(Domain::IPV6, Type::STREAM, Some(self.client_protocol))?,
                server,
            ));
        }
        let client = Socket::new(Domain::IPV4, Type::STREAM, Some(self.client_protocol))?;
        self.clients += 1;
        let source = u32::from(FIRST_CLIENT) + self.clients % 150;
        setsockopt(&client, sockopt::IpBindAddressNoPort, &true)?;
        client.bind(&SocketAddr::from((Ipv4Addr::from(source), 0)).into())?;
        server.set_ip(Ipv4Addr::LOCALHOST.into());
        Ok((client, server))
    }

    /// A client that is connected.
    pub(crate) fn connect(&mut self) -> Result<Socket> {
        let (client, server) = self.client()?;
        client.connect(&server.into()).with_context(|| format!("connecting to {server}"))?;
        Ok(client)
    }

    /// The connection that waits longest. Waits itself for at most [`PATIENCE`].
    pub(crate) fn accept(&self) -> Result<(Socket, SocketAddr)> {
        wait_for(&self.socket, PollFlags::POLLIN).context("waiting for a client")?;
        let (socket, remote) = self.socket.accept_raw().context("accept")?;
        Ok((socket, address(&remote)?))
    }

    /// How many connections to this listener are in CLOSE_WAIT. Those that nobody has accepted have
    /// no descriptor to ask.
    pub(crate) fn count_close_wait(&self) -> Result<usize> {
        let port = format!(":{:04X}", self.address()?.port());
        let table = if self.family == Family::V4 { "tcp" } else { "tcp6" };
        let sockets = fs::read_to_string(format!("/proc/self/net/{table}"))?;
        let in_close_wait = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().unwrap_or_default();
            local.ends_with(&port) && words.nth(1) == Some("08")
        };
        Ok(sockets.lines().filter(in_close_wait).count())
    }
}

/// Waits until the connection has come about.
pub(crate) fn wait_for_connection(socket: &Socket) -> Result<()> {
    wait_for(socket, PollFlags::POLLOUT).context("waiting for the connection")
}

/// Waits until the peer has ended its side.
pub(crate) fn wait_for_end(socket: &Socket) -> Result<()> {
    // nix has no name for POLLRDHUP. POLLIN would be there with the first data already.
    wait_for(socket, PollFlags::from_bits_retain(nix::libc::POLLRDHUP))
        .context("waiting for the peer to leave")
}

/// Waits until there is something to read.
pub(crate) fn wait_for_data(socket: &Socket) -> Result<()> {
    wait_for(socket, PollFlags::POLLIN).context("waiting for data")
}

/// Waits until the connection is over in both directions.
pub(crate) fn wait_for_both_ends(socket: &Socket) -> Result<()> {
    wait_for(socket, PollFlags::POLLHUP).context("waiting for the connection to be over")
}

fn wait_for(socket: &Socket, event: PollFlags) -> Result<()> {
    let mut waiting = [PollFd::new(socket.as_fd(), event)];
    let patience = PollTimeout::try_from(PATIENCE)?;
    match uninterrupted(|| Ok(poll(&mut waiting, patience)?))? {
        0 => bail!("nothing happened in {PATIENCE:?}"),
        _ => Ok(()),
    }
}

/// Waits for what no descriptor can tell.
pub(crate) fn wait_until(mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("the kernel did not get there in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

pub(crate) fn address(address: &socket2::SockAddr) -> Result<SocketAddr> {
    address.as_socket().context("not an internet address")
}

/// As sockleak prints it: a v4-mapped address is an IPv4 address.
pub(crate) fn printed(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}
