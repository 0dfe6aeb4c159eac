//! The network namespace in which everything happens: loopback, and nothing else.

use std::cell::Cell;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use crate::plant::Planted;
use crate::role::Role;
use crate::truth::Truth;

/// Descriptors that a process keeps free for itself, below its limit.
const SPARE: u64 = 100;
/// Descriptors that are not sockets.
const CROWD: usize = 100_000;

/// The namespace of this process and of all its children.
pub(crate) struct Scene {
    holders: Cell<u16>,
    /// Descriptors that a child may open.
    limit: usize,
}

/// Leaked sockets, held until this is dropped.
pub(crate) struct Leaks {
    _holders: Vec<Role>,
    pub(crate) truth: Truth,
    pub(crate) processes: usize,
}

impl Scene {
    /// Moves this process into a namespace of its own.
    pub(crate) fn enter() -> Result<Self> {
        if !geteuid().is_root() {
            bail!("the benchmark loads BPF programs and makes a network namespace: run it as root");
        }
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        mount_tracefs().context("cannot mount tracefs, which other tools need")?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.context("cannot run ip (iproute2)")?.success() {
            bail!("cannot bring up loopback");
        }
        fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "2")?;
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            holders: Cell::new(1),
            limit: usize::try_from(hard.saturating_sub(SPARE).min(50_000))?,
        })
    }

    /// Leaks sockets, in this number of processes or in more, if their limits demand it.
    ///
    /// It takes longer than two seconds: a peer's end lives for `tcp_fin_timeout` after it has
    /// left. So no leak is young enough for `list` to look at it twice.
    pub(crate) fn leak(&self, sockets: usize, processes: usize) -> Result<Leaks> {
        // The kernel has to keep the peers' ends for a while: an ACK without a socket would cause a
        // reset.
        fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "1000000")?;
        let processes = processes.max(sockets.div_ceil(self.limit));
        let mut holders = Vec::new();
        for index in 0..processes {
            let share = sockets / processes + usize::from(index < sockets % processes);
            holders.push(self.start_holder("plant", share)?);
        }
        let mut truth = Truth::default();
        for holder in &mut holders {
            truth.add(&holder.hear::<Planted>().context("cannot leak sockets")?);
        }
        wait_for_silence()?;
        if truth.len() != sockets {
            bail!("{} of {sockets} sockets were leaked", truth.len());
        }
        Ok(Leaks { _holders: holders, truth, processes })
    }

    /// Opens healthy connections. They stay open until the return value is dropped.
    pub(crate) fn connect(&self, connections: usize) -> Result<Vec<Role>> {
        let mut holders = Vec::new();
        let mut left = connections;
        while left > 0 {
            // A holder has both ends.
            let share = left.min(self.limit / 2);
            holders.push(self.start_holder("healthy", share)?);
            left -= share;
        }
        for holder in &mut holders {
            holder.hear::<usize>().context("cannot open connections")?;
        }
        Ok(holders)
    }

    /// Starts a child that plants sockets, with a number that no other has.
    fn start_holder(&self, role: &str, sockets: usize) -> Result<Role> {
        let number = self.holders.replace(self.holders.get().wrapping_add(1)).to_string();
        let args = [role, "--holder", &number, "--sockets", &sockets.to_string()];
        Role::start(&args.map(str::to_owned))
    }

    /// Opens descriptors that are not sockets. They stay open until the return value is dropped.
    pub(crate) fn crowd(&self) -> Result<Vec<Role>> {
        let mut crowd = Vec::new();
        let mut left = CROWD;
        while left > 0 {
            let share = left.min(self.limit);
            let args = ["crowd", "--descriptors", &share.to_string()].map(str::to_owned);
            let mut role = Role::start(&args)?;
            role.hear::<usize>().context("cannot open descriptors")?;
            crowd.push(role);
            left -= share;
        }
        Ok(crowd)
    }
}

/// Waits until the kernel has freed every peer's end, so that nothing changes any more.
fn wait_for_silence() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        // `TCP: inuse 7 orphan 0 tw 0 alloc 9 mem 1`
        let text = fs::read_to_string("/proc/net/sockstat")?;
        if text.contains(" tw 0 ") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("ends of peers that have left are still there after a minute")
}

/// Mounts tracefs for this process and its children alone, unless the host has mounted it.
fn mount_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if fs::exists(format!("{TRACEFS}/events"))? {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none)?;
    Ok(mount(Some("tracefs"), TRACEFS, Some("tracefs"), MsFlags::empty(), none)?)
}
