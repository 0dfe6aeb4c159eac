//! A child that opens and closes connections at full speed. Each of them passes CLOSE_WAIT: the
//! client leaves first, and the server closes when it has read the end-of-file.

use std::fs;
use std::io::{self, BufRead, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::role::{Role, say};

/// Number of clients and servers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Clients, each with a server thread of its own
    #[arg(long)]
    pairs: usize,
}

/// Work done so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Count {
    connections: u64,
    /// Time of this count: ns, `CLOCK_MONOTONIC`.
    clock: u64,
    /// CPU time so far, of both ends, the network stack, and the programs on its tracepoints.
    cpu: u64,
}

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Runs the churn, and prints a count at once and one for each line of stdin.
///
/// The two ends of a connection share a CPU. Where the scheduler moves them, their pace changes by
/// more than most tools cost.
pub(crate) fn churn(args: &Args) -> Result<()> {
    let this_thread = Pid::from_raw(0);
    let all = sched_getaffinity(this_thread)?;
    let cpus = (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap_or(false));
    for cpu in cpus.cycle().take(args.pairs) {
        // A thread inherits the CPUs of the one that starts it.
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(this_thread, &only)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        thread::spawn(move || serve(&listener));
        thread::spawn(move || {
            while connect_once(address).is_ok() {}
            // With one client less, windows cannot be compared any more.
            process::exit(1);
        });
    }
    sched_setaffinity(this_thread, &all)?;
    say(&count()?)?;
    for line in io::stdin().lock().lines() {
        line?;
        say(&count()?)?;
    }
    Ok(())
}

fn serve(listener: &TcpListener) {
    // A connection that fails is missing in the count.
    for mut stream in listener.incoming().flatten() {
        let _ = stream.read(&mut [0]);
    }
}

fn connect_once(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.shutdown(Shutdown::Write)?;
    // Wait for the server's close: it leaves CLOSE_WAIT before the next connection begins.
    let _ = stream.read(&mut [0]);
    CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn count() -> Result<Count> {
    Ok(Count {
        connections: CONNECTIONS.load(Ordering::Relaxed),
        clock: nanoseconds(ClockId::CLOCK_MONOTONIC)?,
        cpu: nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
    })
}

fn nanoseconds(clock: ClockId) -> Result<u64> {
    Ok(u64::try_from(Duration::from(clock_gettime(clock)?).as_nanos())?)
}

/// The running child.
pub(crate) struct Churn {
    role: Role,
}

/// Work done within a window of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) connections: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

impl Window {
    pub(crate) fn rate(&self) -> f64 {
        self.connections as f64 / self.seconds
    }
}

impl Churn {
    /// Starts the churn with twice as many pairs as there are CPUs, so that no CPU is idle.
    pub(crate) fn start() -> Result<Self> {
        // TIME_WAIT would use up ports, and an amount of memory that differs from run to run.
        fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")?;
        let pairs = 2 * thread::available_parallelism()?.get();
        let args = ["churn", "--pairs", &pairs.to_string()].map(str::to_owned);
        let mut role = Role::start(&args)?;
        role.hear::<Count>().context("the churn does not come about")?;
        Ok(Self { role })
    }

    /// Measures the churn for this time.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<Window> {
        let sleep = || {
            thread::sleep(time);
            Ok(())
        };
        Ok(self.window(sleep)?.0)
    }

    /// Measures the churn while `during` runs.
    pub(crate) fn window<T>(&mut self, during: impl FnOnce() -> Result<T>) -> Result<(Window, T)> {
        let before: Count = self.role.ask()?;
        let value = during()?;
        let after: Count = self.role.ask()?;
        let seconds = |from: u64, to: u64| (to - from) as f64 / 1e9;
        let window = Window {
            connections: after.connections - before.connections,
            seconds: seconds(before.clock, after.clock),
            cpu_seconds: seconds(before.cpu, after.cpu),
        };
        Ok((window, value))
    }
}
