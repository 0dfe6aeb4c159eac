//! Connections that something happens on, in threads that end with the process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{SockAddr, SockAddrStorage, Socket};

use crate::planted::wait_for_end;

/// Sends `bytes` at a time, and after each of them pauses for so long, until the connection is over.
pub(crate) fn send_on(socket: Arc<Socket>, bytes: usize, pause: Duration) {
    thread::spawn(move || {
        let piece = vec![b'x'; bytes];
        while (&*socket).write_all(&piece).is_ok() {
            thread::sleep(pause);
        }
    });
}

/// Reads at most `bytes` at a time, and after each of them pauses for so long, until the end of file.
pub(crate) fn read_on(socket: Arc<Socket>, bytes: usize, pause: Duration) {
    thread::spawn(move || {
        let mut piece = vec![0; bytes];
        while (&*socket).read(&mut piece).is_ok_and(|length| length > 0) {
            thread::sleep(pause);
        }
    });
}

/// Passes on the end of file of one connection to another, as a proxy does.
pub(crate) fn relay(from: Arc<Socket>, to: Arc<Socket>) {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while (&*from).read(&mut piece).is_ok_and(|length| length > 0) {}
        // The peer may have gone; then there is nobody to tell.
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Clients that connect at so many a second and leave at once, and a server that closes so long after each
/// has left. The server's address.
pub(crate) fn visits(per_second: u32, lateness: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pace = Duration::from_secs(1) / per_second;
    thread::spawn(move || -> Result<()> {
        let mut next = Instant::now();
        loop {
            TcpStream::connect(address)?;
            next += pace;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    thread::spawn(move || -> Result<()> {
        loop {
            let (client, _) = listener.accept()?;
            thread::spawn(move || close_after(client.into(), lateness));
        }
    });
    Ok(address)
}

fn close_after(client: Socket, lateness: Duration) -> Result<()> {
    wait_for_end(&client)?;
    thread::sleep(lateness);
    Ok(())
}

/// A socket whose connect() was refused.
pub(crate) fn refused() -> Result<Socket> {
    // Not a free port out of the ephemeral ones: a socket can connect to itself.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    match socket.connect(&nobody.into()) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(socket),
        Err(error) => Err(error).context("a connect() that was to be refused"),
        Ok(()) => bail!("{nobody} has a listener"),
    }
}

/// An address without a family (AF_UNSPEC): connect() to it dissolves a connection.
pub(crate) fn nowhere() -> SockAddr {
    let zeros = SockAddrStorage::zeroed();
    let length = zeros.size_of();
    #[expect(unsafe_code, reason = "a safe address always has a family")]
    // SAFETY: zeros are an address without a family, whatever its length.
    unsafe {
        SockAddr::new(zeros, length)
    }
}
