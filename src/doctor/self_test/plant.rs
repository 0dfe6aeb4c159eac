//! How to bring a socket into the condition of each verdict, without any privilege.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, RETRY};
use crate::live::RELAY_NS;
use crate::report::row::SocketRow;
use crate::sock::conn::Endpoint;
use crate::sock::leak::Verdict;

/// How large a receive buffer is where it has to be full, and how much is sent to fill it.
const BUFFER: usize = 32 << 10;
const PLENTY: usize = 512 << 10;

/// Plants a socket with one verdict.
type Plant = fn() -> io::Result<Planted>;

/// How each verdict is planted, in this order. Verdicts that take long to show come first. Whatever
/// shuts down a sending side comes before whatever keeps a FIN, which would look relayed otherwise.
pub(super) const PLANTS: [(Verdict, Plant); 17] = [
    (Verdict::Unanswered, unanswered),
    (Verdict::Stalled, stalled),
    (Verdict::HalfShut, half_shut),
    (Verdict::Unsent, unsent),
    (Verdict::HalfClosed, half_closed),
    (Verdict::Dead, dead),
    (Verdict::Relayed, relayed),
    (Verdict::EofRead, eof_read),
    (Verdict::EofUnread, eof_unread),
    (Verdict::DataUnread, data_unread),
    (Verdict::Draining, draining),
    (Verdict::Reset, reset),
    (Verdict::NeverAccepted, never_accepted),
    (Verdict::Unaccepted, unaccepted),
    (Verdict::ConnectFailed, connect_failed),
    (Verdict::Unconnected, unconnected),
    (Verdict::Reserved, reserved),
];

/// A planted socket. It stays as it is for as long as this lives.
pub(super) struct Planted {
    name: Name,
    /// The descriptor that the report has to name.
    fd: u32,
    _open: Vec<OwnedFd>,
}

/// How a row is told from others.
enum Name {
    Cookie(u64),
    /// Our end and the peer's, of a socket without a descriptor to ask for its cookie.
    Ends(Endpoint, Endpoint),
}

impl Planted {
    /// A socket, and the others that have to stay open.
    fn socket<const N: usize>(
        socket: impl Into<OwnedFd>,
        others: [OwnedFd; N],
    ) -> io::Result<Self> {
        let socket = socket.into();
        let name = Name::Cookie(SockRef::from(&socket).cookie()?);
        Ok(Self::new(name, socket, others))
    }

    fn new(name: Name, holder: OwnedFd, others: impl IntoIterator<Item = OwnedFd>) -> Self {
        let fd = u32::try_from(holder.as_raw_fd()).unwrap_or(u32::MAX);
        Self { name, fd, _open: others.into_iter().chain([holder]).collect() }
    }

    /// Returns true if the row is about this socket.
    pub(super) fn is(&self, row: &SocketRow<'_>) -> bool {
        match self.name {
            Name::Cookie(cookie) => row.cookie.is_some_and(|its| its.get() == cookie),
            Name::Ends(local, remote) => (row.local, row.remote) == (local, remote),
        }
    }

    /// Returns true if the row names the holder: this process, by one descriptor.
    pub(super) fn is_held_by(&self, row: &SocketRow<'_>) -> bool {
        row.pid == Some(std::process::id()) && row.holders.fds().eq([self.fd])
    }
}

fn eof_read() -> io::Result<Planted> {
    let (client, mut server) = connection()?;
    drop(client);
    server.read_to_end(&mut Vec::new())?;
    Planted::socket(server, [])
}

fn eof_unread() -> io::Result<Planted> {
    let (client, server) = connection()?;
    drop(client);
    await_end(&server)?;
    Planted::socket(server, [])
}

fn data_unread() -> io::Result<Planted> {
    let (mut client, server) = connection()?;
    client.write_all(b"unread")?;
    drop(client);
    await_end(&server)?;
    Planted::socket(server, [])
}

fn never_accepted() -> io::Result<Planted> {
    let (client, queued) = queued()?;
    drop(client);
    Ok(queued)
}

/// Closes the client with data unread: its kernel sends a RST.
fn reset() -> io::Result<Planted> {
    let (client, mut server) = connection()?;
    server.write_all(b"!")?;
    client.peek(&mut [0])?;
    drop(client);
    Planted::socket(server, [])
}

fn dead() -> io::Result<Planted> {
    let (mut client, server) = connection()?;
    server.shutdown(Shutdown::Write)?;
    client.read_to_end(&mut Vec::new())?;
    drop(client);
    Planted::socket(server, [])
}

/// Sends after the FIN, whose event carries the sequence numbers: a scan then sees that they moved.
fn half_closed() -> io::Result<Planted> {
    let (client, mut server) = connection()?;
    client.shutdown(Shutdown::Write)?;
    await_end(&server)?;
    server.write_all(b"!")?;
    Planted::socket(server, [client.into()])
}

/// Reads after the FIN, as [`half_closed`] sends.
fn draining() -> io::Result<Planted> {
    let (mut client, mut server) = connection()?;
    client.write_all(b"unread")?;
    drop(client);
    await_end(&server)?;
    server.read_exact(&mut [0])?;
    Planted::socket(server, [])
}

fn unsent() -> io::Result<Planted> {
    let (client, mut server) = connection()?;
    client.shutdown(Shutdown::Write)?;
    await_end(&server)?;
    cut(&client, &server)?;
    server.write_all(b"!")?;
    Planted::socket(server, [client.into()])
}

/// Tries again if it took longer than a relay may: other processes may have had the CPU meanwhile.
fn relayed() -> io::Result<Planted> {
    let end = Instant::now() + RETRY;
    loop {
        let (client, server) = connection()?;
        // Whoever has both ends passes nothing on: the other one waits to be accepted.
        let backend = listen()?;
        let onward = TcpStream::connect(backend.local_addr()?)?;
        let begin = Instant::now();
        drop(client);
        await_end(&server)?;
        onward.shutdown(Shutdown::Write)?;
        if begin.elapsed() < Duration::from_nanos(RELAY_NS) || Instant::now() > end {
            return Planted::socket(server, [onward.into(), backend.into()]);
        }
    }
}

fn half_shut() -> io::Result<Planted> {
    let (client, server) = connection()?;
    server.shutdown(Shutdown::Write)?;
    Planted::socket(server, [client.into()])
}

fn stalled() -> io::Result<Planted> {
    let listener = listen()?;
    SockRef::from(&listener).set_recv_buffer_size(BUFFER)?;
    let (mut client, server) = connect_to(&listener)?;
    client.set_nonblocking(true)?;
    // The kernel may take only a part, but always more than the window lets through.
    let _sent = client.write(&vec![0; PLENTY])?;
    Planted::socket(server, [client.into()])
}

fn unanswered() -> io::Result<Planted> {
    let (client, mut server) = connection()?;
    cut(&client, &server)?;
    server.write_all(b"!")?;
    Planted::socket(server, [client.into()])
}

fn unaccepted() -> io::Result<Planted> {
    let (client, mut queued) = queued()?;
    queued._open.push(client.into());
    Ok(queued)
}

/// Connects to a port that is kept and where nobody listens: the kernel refuses it.
fn connect_failed() -> io::Result<Planted> {
    let (socket, port) = (unused()?, unused()?);
    port.bind(&any_port().into())?;
    match socket.connect(&port.local_addr()?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Planted::socket(socket, [])
        }
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other("somebody listens where nobody should")),
    }
}

fn unconnected() -> io::Result<Planted> {
    Planted::socket(unused()?, [])
}

fn reserved() -> io::Result<Planted> {
    let socket = unused()?;
    socket.bind(&any_port().into())?;
    Planted::socket(socket, [])
}

/// A connection in an accept queue, and its client.
fn queued() -> io::Result<(TcpStream, Planted)> {
    let listener = listen()?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let name = Name::Ends(client.peer_addr()?.into(), client.local_addr()?.into());
    Ok((client, Planted::new(name, listener.into(), [])))
}

/// Both ends of a new connection: the client's, and the server's, which is the one to plant.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    connect_to(&listen()?)
}

fn connect_to(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

fn listen() -> io::Result<TcpListener> {
    TcpListener::bind(any_port())
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn unused() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, None)
}

/// Waits for the peer's FIN, and reads nothing.
fn await_end(stream: &TcpStream) -> io::Result<()> {
    // nix has no name for it.
    let end = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let patience = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream.as_fd(), end)], patience)? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer's FIN does not come")),
        _ => Ok(()),
    }
}

/// Cuts the way from the server to its client: the kernel drops what arrives with too low a TTL. (A
/// socket filter would do the same, but a kernel may ask for privilege.)
fn cut(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let largest: libc::c_int = 255;
    #[expect(unsafe_code, reason = "neither nix nor socket2 sets IP_MINTTL")]
    let result = unsafe {
        libc::setsockopt(
            client.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MINTTL,
            (&raw const largest).cast(),
            libc::socklen_t::try_from(size_of_val(&largest)).unwrap_or(0),
        )
    };
    Errno::result(result)?;
    server.set_ttl(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_planted_once() {
        let mut planted = PLANTS.map(|(verdict, _)| verdict);
        planted.sort();
        let mut all = Verdict::ALL;
        all.sort();
        assert_eq!(planted, all);
    }
}
