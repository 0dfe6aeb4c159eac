//! Carries out orders.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use sockleak::host::netns;

use crate::healthy::Healthy;
use crate::order::{Arrival, Direction, Kind, Order, Shut, Side};
use crate::planted::{
    Listener, Planted, address, printed, wait_for_both_ends, wait_for_connection, wait_for_data,
    wait_for_end, wait_until,
};
use crate::ring::Ring;
use crate::traffic;

/// "leaker" in hex: a program started through /proc/self/exe would be called "exe".
pub(crate) const OWN_NAME: &str = "6c65616b6572";

/// Says who and where it is, then answers orders until stdin ends.
pub(crate) fn run() -> Result<()> {
    let mut script = Script::default();
    answer(Ok(
        json!({ "pid": std::process::id(), "netns": netns::inode(Path::new("/proc/self/ns/net"))? }),
    ))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let outcome = Order::try_parse_from(line.split_whitespace())
            .with_context(|| format!("the order {line:?}"))
            .and_then(|order| script.carry_out(order));
        answer(outcome)?;
    }
    Ok(())
}

fn answer(outcome: Result<Value>) -> Result<()> {
    let line = match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[derive(Default)]
struct Script {
    listeners: Vec<Listener>,
    sockets: BTreeMap<RawFd, Arc<Socket>>,
    duplicates: BTreeMap<RawFd, OwnedFd>,
    in_flight: Vec<(UnixStream, UnixStream)>,
    children: Vec<Child>,
    ring: Option<Ring>,
    healthy: Option<Healthy>,
}

impl Script {
    fn carry_out(&mut self, order: Order) -> Result<Value> {
        match order {
            Order::Listen { family, backlog, mptcp, mptcp_clients, at } => {
                let protocol = |mptcp| {
                    if mptcp { Protocol::MPTCP } else { Protocol::TCP }
                };
                let (ours, theirs) = (protocol(mptcp), protocol(mptcp || mptcp_clients));
                let listener = Listener::new(family, at, backlog, ours, theirs)?;
                let (fd, at) = (listener.socket.as_raw_fd(), listener.address()?);
                self.listeners.push(listener);
                return Ok(json!({ "fd": fd, "local": printed(at) }));
            }
            Order::Plant { kind, count, bytes } => {
                return Ok(serde_json::to_value(self.plant(kind, count, bytes)?)?);
            }
            Order::Accept { count } => {
                let accepted = (0..count).map(|_| self.accept()).collect::<Result<Vec<_>>>()?;
                return Ok(serde_json::to_value(accepted)?);
            }
            Order::Dial => return self.dial(),
            Order::Connect { address } => return self.connect(address),
            Order::Unconnected => {
                let socket = Socket::new_raw(Domain::IPV4, Type::STREAM, None)?;
                return Ok(json!(self.keep(socket)));
            }
            Order::Bound => {
                let socket = Socket::new_raw(Domain::IPV4, Type::STREAM, None)?;
                socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
                return Ok(json!(self.keep(socket)));
            }
            Order::Refused => return Ok(json!(self.keep(traffic::refused()?))),
            Order::Disconnect { fd } => self.socket(fd)?.connect(&traffic::nowhere())?,
            Order::Buffer { fd, side, bytes } => {
                let socket = self.borrowed(fd)?;
                match side {
                    Side::Receive => setsockopt(&socket, sockopt::RcvBufForce, &bytes)?,
                    Side::Send => setsockopt(&socket, sockopt::SndBufForce, &bytes)?,
                }
            }
            Order::Send { fd, bytes, every: None } => {
                (&**self.socket(fd)?).write_all(&vec![b'x'; bytes])?;
            }
            Order::Send { fd, bytes, every: Some(pause) } => {
                traffic::send_on(self.socket(fd)?.clone(), bytes, Duration::from_millis(pause));
            }
            Order::Read { fd, bytes, every: None } => {
                (&**self.socket(fd)?).read_exact(&mut vec![0; bytes])?;
            }
            Order::Read { fd, bytes, every: Some(pause) } => {
                traffic::read_on(self.socket(fd)?.clone(), bytes, Duration::from_millis(pause));
            }
            Order::Relay { from, to } => {
                traffic::relay(self.socket(from)?.clone(), self.socket(to)?.clone());
            }
            Order::Await { fd, what: Arrival::Data } => wait_for_data(self.socket(fd)?)?,
            Order::Await { fd, what: Arrival::Eof } => wait_for_end(self.socket(fd)?)?,
            Order::Await { fd, what: Arrival::End } => wait_for_both_ends(self.socket(fd)?)?,
            Order::FetchError { fd } => {
                let error = self.socket(fd)?.take_error()?;
                return Ok(json!(error.context("no error waits")?.to_string()));
            }
            Order::Drain { fd } => return Ok(json!(drain(self.socket(fd)?)?)),
            Order::Dup { fd } => {
                let duplicate = nix::unistd::dup(self.socket(fd)?)?;
                let number = duplicate.as_raw_fd();
                self.duplicates.insert(number, duplicate);
                return Ok(json!(number));
            }
            Order::Fork { comm } => return self.fork(&comm),
            Order::Threads { count } => {
                for _ in 0..count {
                    thread::Builder::new().stack_size(64 << 10).spawn(|| {
                        loop {
                            thread::park();
                        }
                    })?;
                }
            }
            Order::Entrust { fd } => self.entrust(fd)?,
            Order::SendAway { fd } => self.send_away(fd)?,
            Order::Install { fd } => return self.install(fd),
            Order::Shutdown { fd, direction } => {
                wait_for_connection(self.socket(fd)?)?;
                self.socket(fd)?.shutdown(match direction {
                    Shut::Sending => Shutdown::Write,
                    Shut::Both => Shutdown::Both,
                })?;
            }
            Order::Close { fd } => self.close(fd)?,
            Order::CloseAll => {
                let count = self.sockets.len();
                self.sockets.clear();
                self.duplicates.clear();
                return Ok(json!(count));
            }
            Order::Abort { fd } => {
                self.socket(fd)?.set_linger(Some(Duration::ZERO))?;
                self.sockets.remove(&fd);
            }
            Order::Keepalive { fd } => {
                let second = Duration::from_secs(1);
                let probing = TcpKeepalive::new().with_time(second).with_interval(second);
                // A busy host may take seconds to answer, and a probe too many ends the connection.
                self.socket(fd)?.set_tcp_keepalive(&probing.with_retries(100))?;
            }
            Order::Cookie { fd } => return Ok(json!(self.socket(fd)?.cookie()?)),
            Order::Loopback { direction } => netns::set_loopback(direction == Direction::Up)?,
            Order::Limit { descriptors } => {
                let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
                setrlimit(Resource::RLIMIT_NOFILE, descriptors, hard)?;
            }
            Order::Churn { count, milliseconds } => return self.churn(count, milliseconds),
            Order::Visits { per_second, lateness } => {
                let address = traffic::visits(per_second, Duration::from_millis(lateness))?;
                return Ok(json!({ "fd": -1, "local": printed(address) }));
            }
            Order::Healthy => self.healthy = Some(Healthy::start()?),
            Order::Progress => {
                return Ok(self.healthy.as_ref().context("no healthy traffic yet")?.progress());
            }
            Order::Exec { comm } => {
                let error = Command::new("/proc/self/exe").args(["script", "--comm", &comm]).exec();
                return Err(error).context("exec");
            }
            Order::Exit => std::process::exit(0),
        }
        Ok(Value::Null)
    }

    fn listener(&mut self) -> Result<&mut Listener> {
        self.listeners.last_mut().context("no listener yet")
    }

    /// A connection's descriptor, or a listener's.
    fn borrowed(&self, fd: RawFd) -> Result<BorrowedFd<'_>> {
        let listener = self.listeners.iter().find(|one| one.socket.as_raw_fd() == fd);
        match listener {
            Some(listener) => Ok(listener.socket.as_fd()),
            None => Ok(self.socket(fd)?.as_fd()),
        }
    }

    fn socket(&self, fd: RawFd) -> Result<&Arc<Socket>> {
        self.sockets.get(&fd).with_context(|| format!("descriptor {fd} is no connection of mine"))
    }

    fn keep(&mut self, socket: Socket) -> RawFd {
        let fd = socket.as_raw_fd();
        self.sockets.insert(fd, Arc::new(socket));
        fd
    }

    fn accept(&mut self) -> Result<Planted> {
        let (socket, remote) = self.listener()?.accept()?;
        let planted = Planted::of(&socket, remote)?;
        self.keep(socket);
        Ok(planted)
    }

    fn plant(&mut self, kind: Kind, count: usize, bytes: usize) -> Result<Vec<Planted>> {
        if kind == Kind::NeverAccepted {
            return self.plant_unaccepted(count);
        }
        if kind == Kind::LeftByServer {
            return (0..count).map(|_| self.plant_left_by_server()).collect();
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let client = self.listener()?.connect()?;
            let mut planted = self.accept()?;
            let client_address = printed(address(&client.local_addr()?)?);
            if planted.remote != client_address {
                bail!("accepted {} where {client_address} was to come", planted.remote);
            }
            match kind {
                Kind::Established => planted.peer = Some(self.keep(client)),
                Kind::HalfClosed => {
                    client.shutdown(Shutdown::Write)?;
                    planted.peer = Some(self.keep(client));
                }
                Kind::DataUnread => {
                    (&client).write_all(&vec![b'x'; bytes])?;
                    drop(client);
                }
                _ => drop(client),
            }
            let server = self.socket(planted.fd.context("accepted without a descriptor")?)?;
            if kind != Kind::Established {
                wait_for_end(server)?;
            }
            if kind == Kind::EofRead {
                drain(server)?;
            }
            all.push(planted);
        }
        Ok(all)
    }

    fn plant_unaccepted(&mut self, count: usize) -> Result<Vec<Planted>> {
        let listener = self.listener()?;
        let expected = listener.count_close_wait()? + count;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let client = listener.connect()?;
            all.push(Planted {
                fd: None,
                peer: None,
                local: printed(address(&client.peer_addr()?)?),
                remote: printed(address(&client.local_addr()?)?),
            });
        }
        wait_until(|| Ok(listener.count_close_wait()? >= expected))?;
        Ok(all)
    }

    fn plant_left_by_server(&mut self) -> Result<Planted> {
        let listener = self.listener()?;
        let client = listener.connect()?;
        drop(listener.accept()?);
        wait_for_end(&client)?;
        let planted = Planted::of(&client, address(&client.peer_addr()?)?)?;
        self.keep(client);
        Ok(planted)
    }

    /// The remote end is all that is known of a connection that does not come about.
    fn dial(&mut self) -> Result<Value> {
        let (client, server) = self.listener()?.client()?;
        client.set_nonblocking(true)?;
        match client.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                return Err(error).context("connect");
            }
            _ => {}
        }
        let local = printed(address(&client.local_addr()?)?);
        Ok(json!({ "fd": self.keep(client), "local": local, "remote": printed(server) }))
    }

    fn connect(&mut self, to: SocketAddr) -> Result<Value> {
        let socket = Socket::new_raw(Domain::for_address(to), Type::STREAM, None)?;
        socket.connect(&to.into()).with_context(|| format!("connecting to {to}"))?;
        let planted = Planted::of(&socket, to)?;
        self.keep(socket);
        Ok(serde_json::to_value(planted)?)
    }

    fn install(&mut self, fd: RawFd) -> Result<Value> {
        if self.ring.is_none() {
            self.ring = Some(Ring::new()?);
        }
        let ring = self.ring.as_mut().context("no ring")?;
        let slot = ring.install(fd)?;
        let ring = ring.fd();
        self.close(fd)?;
        Ok(json!({ "ring_fd": ring, "ring_slot": slot }))
    }

    fn fork(&mut self, comm: &str) -> Result<Value> {
        let mut child = Command::new("/proc/self/exe")
            .args(["hold", "--comm", comm])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        // Once it has spoken it has its name, and dies with us.
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut String::new())?;
        let pid = child.id();
        self.children.push(child);
        Ok(json!(pid))
    }

    fn entrust(&mut self, fd: RawFd) -> Result<()> {
        let (done, is_done) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // From here on the thread's table is a copy, which the close below does not touch.
            let outcome = unshare(CloneFlags::CLONE_FILES);
            let ready = outcome.is_ok();
            if done.send(outcome).is_ok() && ready {
                loop {
                    thread::park();
                }
            }
        });
        is_done.recv()??;
        self.close(fd)
    }

    fn send_away(&mut self, fd: RawFd) -> Result<()> {
        let pair = UnixStream::pair()?;
        let rights = [fd];
        let message = [ControlMessage::ScmRights(&rights)];
        let data = [IoSlice::new(&[0])];
        sendmsg::<()>(pair.0.as_raw_fd(), &data, &message, MsgFlags::empty(), None)?;
        self.in_flight.push(pair);
        self.close(fd)
    }

    fn close(&mut self, fd: RawFd) -> Result<()> {
        if self.sockets.remove(&fd).is_some() || self.duplicates.remove(&fd).is_some() {
            return Ok(());
        }
        if let Some(at) = self.listeners.iter().position(|one| one.socket.as_raw_fd() == fd) {
            self.listeners.remove(at);
            return Ok(());
        }
        // After `exec` the connections are still open, but nobody wrote down which they are.
        nix::unistd::close(fd).with_context(|| format!("closing descriptor {fd}"))
    }

    fn churn(&mut self, count: u64, milliseconds: u64) -> Result<Value> {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        let listener = self.listener()?;
        let mut made = 0;
        while made < count && Instant::now() < end {
            let client = listener.connect()?;
            let (server, _) = listener.accept()?;
            drop(client);
            wait_for_end(&server)?;
            made += 1;
        }
        Ok(json!(made))
    }
}

fn drain(mut socket: &Socket) -> Result<usize> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += length,
        }
    }
}
