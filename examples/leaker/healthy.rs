//! Healthy traffic of every kind that might be taken for a leak, in threads that go on until the process
//! ends. Each round closes what it opens, in good time.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use crate::traffic;

/// A kind of traffic: one call is one round.
type Round = Box<dyn FnMut() -> Result<()> + Send>;

/// Between rounds, so that local ports do not run out.
const PAUSE: Duration = Duration::from_millis(2);

/// Traffic under way, and how many rounds of each kind are over.
pub(crate) struct Healthy {
    rounds: Vec<(&'static str, Arc<AtomicU64>)>,
}

impl Healthy {
    pub(crate) fn start() -> Result<Self> {
        let kinds: [(&str, Round); 10] = [
            ("client-closes", client_closes()?),
            ("server-closes", server_closes()?),
            ("pool", pool()?),
            ("half-close", half_close()?),
            ("slow-reader", slow_reader()?),
            ("slow-download", slow_download()?),
            ("relay", relay()?),
            ("refused", Box::new(|| traffic::refused().map(drop))),
            ("passed-on", passed_on()?),
            ("reset", reset()?),
        ];
        Ok(Self { rounds: kinds.map(|(name, round)| (name, go_on(name, round))).into() })
    }

    /// Rounds by kind.
    pub(crate) fn progress(&self) -> Value {
        let count = |(name, rounds): &(&'static str, Arc<AtomicU64>)| {
            ((*name).to_owned(), json!(rounds.load(Ordering::Relaxed)))
        };
        Value::Object(self.rounds.iter().map(count).collect())
    }
}

/// A kind that fails must not pass for one that is healthy: it ends the process.
fn go_on(name: &'static str, mut round: Round) -> Arc<AtomicU64> {
    let rounds = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&rounds);
    thread::spawn(move || {
        loop {
            if let Err(error) = round() {
                eprintln!("{name}: {error:#}");
                std::process::exit(1);
            }
            counter.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    });
    rounds
}

fn listen() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// A client and its server.
fn pair(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

fn read_to_end(mut stream: &TcpStream) -> Result<()> {
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn client_closes() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let (mut client, server) = pair(&listener)?;
        client.write_all(b"request")?;
        drop(client);
        read_to_end(&server)
    }))
}

fn server_closes() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let (client, mut server) = pair(&listener)?;
        server.write_all(b"answer")?;
        drop(server);
        read_to_end(&client)
    }))
}

/// Connections that stay open, and are used now and then.
fn pool() -> Result<Round> {
    let listener = listen()?;
    let mut pairs = (0..5).map(|_| pair(&listener)).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move || {
        for (client, server) in &mut pairs {
            let mut message = [0; 7];
            client.write_all(b"request")?;
            server.read_exact(&mut message)?;
            server.write_all(b"answer!")?;
            client.read_exact(&mut message)?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }))
}

/// A client that has asked, says so by shutting down its side, and reads a long answer.
fn half_close() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let (mut client, mut server) = pair(&listener)?;
        client.write_all(b"request")?;
        client.shutdown(Shutdown::Write)?;
        read_to_end(&server)?;
        let mut row = [0; 4];
        for _ in 0..20 {
            server.write_all(b"row\n")?;
            client.read_exact(&mut row)?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }))
}

/// A reader that takes its time with what a finished peer has left.
fn slow_reader() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let (mut client, mut server) = pair(&listener)?;
        client.write_all(&[b'x'; 40_000])?;
        drop(client);
        let mut piece = [0; 2_000];
        while server.read(&mut piece)? > 0 {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }))
}

/// The same as [`half_close`] with an answer that the client is too slow for.
fn slow_download() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_recv_buffer_size(16_000)?;
        client.connect(&listener.local_addr()?.into())?;
        let (mut server, _) = listener.accept()?;
        client.shutdown(Shutdown::Write)?;
        read_to_end(&server)?;
        let sender = thread::spawn(move || server.write_all(&[b'x'; 300_000]));
        let mut piece = [0; 5_000];
        while (&client).read(&mut piece)? > 0 {
            thread::sleep(Duration::from_millis(20));
        }
        match sender.join() {
            Ok(outcome) => Ok(outcome?),
            Err(_) => bail!("the sender has panicked"),
        }
    }))
}

/// A proxy that passes each end of file on, and closes when both sides have ended.
fn relay() -> Result<Round> {
    let (front, back) = (listen()?, listen()?);
    Ok(Box::new(move || {
        let (mut client, mut inward) = pair(&front)?;
        let (mut outward, mut backend) = pair(&back)?;
        client.write_all(b"request")?;
        client.shutdown(Shutdown::Write)?;
        std::io::copy(&mut inward, &mut outward)?;
        outward.shutdown(Shutdown::Write)?;
        read_to_end(&backend)?;
        thread::sleep(Duration::from_millis(20));
        backend.write_all(b"answer")?;
        drop(backend);
        std::io::copy(&mut outward, &mut inward)?;
        drop((inward, outward));
        read_to_end(&client)
    }))
}

/// A server that hands its connections to another process.
fn passed_on() -> Result<Round> {
    let listener = listen()?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut worker = Command::new("/proc/self/exe");
    worker.arg("adopt").stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    // It ends when our end of its standard input closes.
    let _ = worker.spawn()?;
    drop(worker);
    Ok(Box::new(move || {
        let (mut client, server) = pair(&listener)?;
        client.write_all(b"request")?;
        let rights = [server.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&rights)];
        let data = [IoSlice::new(&[0])];
        sendmsg::<()>(ours.as_raw_fd(), &data, &message, MsgFlags::empty(), None)?;
        drop(server);
        client.shutdown(Shutdown::Write)?;
        read_to_end(&client)
    }))
}

/// The other process: reads each connection that comes by standard input to its end, and closes it.
pub(crate) fn adopt() -> Result<()> {
    let stdin = std::io::stdin();
    loop {
        let mut byte = [0];
        let mut data = [IoSliceMut::new(&mut byte)];
        let mut space = cmsg_space!(i32);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = stdin.as_fd().as_raw_fd();
        let message = recvmsg::<()>(fd, &mut data, Some(&mut space), flags)?;
        if message.bytes == 0 {
            return Ok(());
        }
        let Some(ControlMessageOwned::ScmRights(adopted)) = message.cmsgs()?.next() else {
            bail!("a message without a connection");
        };
        for fd in adopted {
            let mut piece = [0; 64];
            while recv(fd, &mut piece, MsgFlags::empty()).context("an adopted connection")? > 0 {}
            nix::unistd::close(fd)?;
        }
    }
}

/// A client that leaves with its answer unread, and a server that sees the reset and closes.
fn reset() -> Result<Round> {
    let listener = listen()?;
    Ok(Box::new(move || {
        let (client, mut server) = pair(&listener)?;
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        server.write_all(b"answer")?;
        drop(client);
        match server.read(&mut [0; 16]) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            other => bail!("a reset was to come, not {other:?}"),
        }
    }))
}
