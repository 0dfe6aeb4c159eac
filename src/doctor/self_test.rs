//! Plants a leak of each kind, and looks whether it is found.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::host::clock::Moment;
use crate::host::netns;
use crate::host::privilege::SELF_TEST;
use crate::live::monitor::Rules;
use crate::probe::{Config, Probe};
use crate::report::row::SocketRow;
use crate::report::{Query, Report, Shown};
use crate::sock::conn::Endpoint;
use crate::sock::leak::Verdict;
use crate::sock::state::StateSet;

/// How long the kernel may take to bring a packet from loopback to loopback. An emulated machine
/// is slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// A ring of this size is enough, and is a multiple of every page size.
const RING_SIZE: u32 = 1 << 20;

/// What the self-test has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SelfTest {
    /// How many leaks were planted.
    pub planted: usize,
    /// How many of them were found, with their verdict.
    pub found: usize,
    /// How many rows about them name another holder than the one that it is.
    pub wrong_owners: usize,
    /// How long it took, from loading the programs on.
    pub seconds: f64,
    /// Whether it had a network namespace of its own, and did not use the present one.
    pub own_network_namespace: bool,
    /// Why it could not be done to its end.
    pub error: Option<String>,
}

impl SelfTest {
    /// Whether everything was found.
    pub fn passed(&self) -> bool {
        self.error.is_none()
            && self.planted > 0
            && self.found == self.planted
            && self.wrong_owners == 0
    }

    /// Runs it. Leaves this process in another network namespace, and without privilege.
    pub fn run(btf: Option<PathBuf>, verdicts: &[Verdict]) -> Self {
        let begin = Instant::now();
        let mut test = Self::default();
        if let Err(error) = test.attempt(btf, verdicts) {
            test.error = Some(format!("{error:#}"));
        }
        test.seconds = (begin.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        test
    }

    fn attempt(&mut self, btf: Option<PathBuf>, verdicts: &[Verdict]) -> Result<()> {
        if SELF_TEST.missing().is_empty() {
            netns::enter_new().context("cannot make a network namespace")?;
            self.own_network_namespace = true;
        }
        // The way of `watch`: attached first, and without privilege from then on.
        let config = Config {
            watched: StateSet::NONE,
            transitions: StateSet::CLOSE_WAIT,
            scans: true,
            ring_size: RING_SIZE,
            btf,
        };
        let rules = Rules { watched: StateSet::NONE, idle: 0, settle: 0 };
        let mut monitor = Probe::monitor(&config, rules)?;
        let mut leaks = Vec::new();
        for &verdict in verdicts {
            let leak = Leak::plant(verdict);
            leaks.push(leak.with_context(|| format!("cannot plant {verdict}"))?);
        }
        self.planted = leaks.len();
        let end = Instant::now() + PATIENCE;
        loop {
            monitor.look_twice(thread::sleep)?;
            let query = Query { shown: Shown::Stranded, ..Query::default() };
            let report =
                Report::build(monitor.table(), &query, None, Moment::now(), monitor.health());
            self.count(&leaks, &report);
            if self.found == self.planted || Instant::now() > end {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
    }

    fn count(&mut self, leaks: &[Leak], report: &Report<'_>) {
        let rows = |leak: &Leak| report.sockets.iter().filter(|row| leak.is(row)).collect();
        (self.found, self.wrong_owners) = (0, 0);
        for leak in leaks {
            let rows: Vec<_> = rows(leak);
            self.found += usize::from(rows.iter().any(|row| row.verdict == Some(leak.verdict)));
            self.wrong_owners += rows.iter().filter(|row| !leak.is_held_by(row)).count();
        }
    }
}

/// A planted leak, seen from the side that leaks.
struct Leak {
    verdict: Verdict,
    local: SocketAddr,
    remote: SocketAddr,
    /// Which descriptor the report has to name.
    fd: u32,
    /// Open for as long as this is.
    _held: Held,
}

/// What keeps a leak leaked.
struct Held {
    _listener: Option<TcpListener>,
    _stream: Option<TcpStream>,
}

impl Leak {
    fn plant(verdict: Verdict) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (local, remote) = (client.peer_addr()?, client.local_addr()?);
        if verdict == Verdict::NeverAccepted {
            drop(client);
            return Ok(Self {
                verdict,
                local,
                remote,
                fd: number(&listener),
                _held: Held { _listener: Some(listener), _stream: None },
            });
        }
        let (mut server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        match verdict {
            Verdict::DataUnread => client.write_all(b"unread")?,
            Verdict::Reset => {
                client.shutdown(std::net::Shutdown::Write)?;
                read_to_end(&mut server)?;
                // To close with data unread sends a RST.
                server.write_all(b"!")?;
                client.peek(&mut [0])?;
            }
            _ => {}
        }
        drop(client);
        if verdict == Verdict::EofRead {
            read_to_end(&mut server)?;
        }
        Ok(Self {
            verdict,
            local,
            remote,
            fd: number(&server),
            _held: Held { _listener: None, _stream: Some(server) },
        })
    }

    fn is(&self, row: &SocketRow<'_>) -> bool {
        row.local == Endpoint::from(self.local) && row.remote == Endpoint::from(self.remote)
    }

    fn is_held_by(&self, row: &SocketRow<'_>) -> bool {
        row.pid == Some(std::process::id()) && row.holders.fds().eq([self.fd])
    }
}

fn number(socket: &impl AsRawFd) -> u32 {
    u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX)
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_to_end(&mut Vec::new()).map(drop)
}
