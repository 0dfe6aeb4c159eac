//! A program that leaks sockets on purpose: the workload of `make demo` and of the tests.
//!
//! - `leaker serve ADDR:PORT` is the server of the blog post: it accepts, reads to the end of file,
//!   and never closes, until SIGHUP tells it to.
//! - `leaker visit ADDR:PORT COUNT` is its clients: they connect, and leave.
//! - `leaker plan CASE` leaks in one way and ends: a command for `sockleak run`.
//! - `leaker status` says which capabilities it has been given.
//! - `leaker script` takes orders on stdin, one a line, and answers each with one line of JSON:
//!   `{"ok": ...}` or `{"error": "..."}`. `help` lists the orders.

mod healthy;
mod order;
mod plan;
mod planted;
mod ring;
mod script;
mod serve;
mod traffic;

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use sockleak::host::netns;

/// How many descriptors a process should be able to have.
const DESCRIPTORS: u64 = 20_000;

/// Leaks TCP sockets on purpose.
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Accept connections and close none of them before SIGHUP; prints its port
    Serve {
        /// Where to listen; port 0 takes a free one
        address: SocketAddr,
    },
    /// Connect COUNT times, and leave each time
    Visit {
        /// The server's address
        address: SocketAddr,
        /// How many times
        count: u32,
    },
    /// Take orders on stdin
    Script {
        /// Work in a new network namespace whose loopback is up
        #[arg(long)]
        netns: bool,
        /// The process's name as bytes in hex; it may hold anything
        #[arg(long, value_name = "HEX", default_value = script::OWN_NAME)]
        comm: String,
    },
    /// Leak in one way, and end
    Plan(plan::Plan),
    /// Print /proc/self/status
    Status,
    /// Take connections from the unix socket on stdin, and read each to its end
    Adopt,
    /// Do nothing, with the descriptors that were inherited, until the parent dies
    Hold {
        /// The process's name as bytes in hex
        #[arg(long, value_name = "HEX", default_value = script::OWN_NAME)]
        comm: String,
    },
}

fn main() -> Result<()> {
    raise_descriptor_limit().context("raising the descriptor limit")?;
    match Arguments::parse().mode {
        Mode::Serve { address } => serve::serve(address),
        Mode::Visit { address, count } => visit(address, count),
        Mode::Script { netns, comm } => {
            set_name(&comm)?;
            if netns {
                netns::enter_new().context("a new network namespace needs root")?;
            }
            script::run()
        }
        Mode::Plan(plan) => plan.run(),
        Mode::Status => {
            print!("{}", std::fs::read_to_string("/proc/self/status")?);
            Ok(())
        }
        Mode::Adopt => healthy::adopt(),
        Mode::Hold { comm } => hold(&comm),
    }
}

fn visit(address: SocketAddr, count: u32) -> Result<()> {
    for _ in 0..count {
        TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    }
    Ok(())
}

fn hold(comm: &str) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    set_name(comm)?;
    println!("holding");
    loop {
        nix::unistd::pause();
    }
}

/// Thousands of leaks must not depend on the limits of whoever starts this. A hard limit that is lower
/// than that can be raised by few.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let enough = hard.max(DESCRIPTORS);
    setrlimit(Resource::RLIMIT_NOFILE, enough, enough)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))?;
    Ok(())
}

fn set_name(hex: &str) -> Result<()> {
    let name = CString::new(from_hex(hex)?).context("a name cannot hold a zero byte")?;
    Ok(prctl::set_name(&name)?)
}

fn from_hex(hex: &str) -> Result<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        bail!("{hex:?} is not a row of bytes in hex");
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).with_context(|| format!("in {hex:?}")))
        .collect()
}

/// Tries again what a signal interrupted.
fn uninterrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
