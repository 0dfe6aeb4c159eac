//! Programs that leak in one way each, and end: commands for `sockleak run`.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getpid, pipe, setsid};
use socket2::{Protocol, Socket};
use sockleak::host::netns;

use crate::order::Family;
use crate::planted::{Listener, wait_for_both_ends, wait_for_end, wait_until};

/// A step of the plan.
#[derive(Args)]
pub(crate) struct Plan {
    /// How to leak
    case: Case,
    /// How many sockets
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How many milliseconds to keep what is dead
    #[arg(long, default_value_t = 200)]
    keep: u64,
    /// A unix socket that takes a descriptor
    #[arg(long)]
    to: Option<PathBuf>,
    /// Stay in the network namespace that is there
    #[arg(long)]
    here: bool,
    /// Listen with MPTCP; clients speak TCP
    #[arg(long)]
    mptcp: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Case {
    /// Leave it to the exit
    Exit,
    /// Close it, and exit at once
    Teardown,
    /// Close it, and live on
    Late,
    /// Close it as soon as the peer has left
    Clean,
    /// Leave both ends to the exit
    BothOpen,
    /// Die by SIGKILL
    Kill,
    /// Leave it to a daemon, which leaves it to its exit
    DoubleFork,
    /// Leave it to a daemon that lives on until its stdin ends
    Daemon,
    /// Leave it to the accept queue of such a daemon
    DaemonQueue,
    /// Leave it to the threads of such a daemon, whose leader has exited
    DaemonThreads,
    /// Leave it to a child, kill that, and do not wait for its end
    KilledChild,
    /// Leave it to a child that outlives its parent
    Inherited,
    /// Leave it to a sibling: a child of the parent's
    CloneParent,
    /// Leave it to a program that is started by vfork
    Vfork,
    /// Execute another program, and have the kernel close it
    ExecClosing,
    /// Execute another program, which has it then
    ExecKeeping,
    /// Pass it to another process, and close the descriptor
    PassAway,
    /// Leave it in a message that nobody reads
    InFlight,
    /// The same, and a child has had its descriptor
    InFlightAfterChild,
    /// Be reset
    Reset,
    /// Shut down both sides, one after the other
    Dead,
    /// Accept it never
    NeverAccepted,
    /// Have the leader exit first
    Threads,
    /// Shut down the sending side, and wait for a peer that does not close
    HalfShut,
    /// Close what was reset, and live on
    ResetLate,
    /// Start a child, print its number, and wait for the end of stdin
    Child,
    /// Print the number of this process, and wait for the end of stdin
    Nothing,
}

impl Plan {
    pub(crate) fn run(&self) -> Result<()> {
        if !self.here {
            netns::enter_new().context("a new network namespace needs root")?;
        }
        let protocol = if self.mptcp { Protocol::MPTCP } else { Protocol::TCP };
        let mut listener = Listener::new(Family::V4, None, 4096, protocol, Protocol::TCP)?;
        match self.case {
            Case::Exit => {
                let _leaked = self.dead(&mut listener)?;
                self.keep();
                // Destructors would close it.
                exit();
            }
            Case::Teardown => {
                let leaked = self.dead(&mut listener)?;
                self.keep();
                drop(leaked);
            }
            Case::Late => {
                let leaked = self.dead(&mut listener)?;
                self.keep();
                drop(leaked);
                self.keep();
            }
            Case::Clean => {
                for _ in 0..self.count {
                    let (client, server) = pair(&mut listener)?;
                    drop(client);
                    wait_for_end(&server)?;
                }
            }
            Case::BothOpen => {
                let _pair = pair(&mut listener)?;
                self.keep();
                exit();
            }
            Case::Kill => {
                let _leaked = self.dead(&mut listener)?;
                self.keep();
                raise(Signal::SIGKILL)?;
            }
            Case::DoubleFork => self.in_daemon(|| {
                let _leaked = self.dead(&mut listener)?;
                self.keep();
                exit();
            })?,
            Case::Daemon | Case::DaemonQueue | Case::DaemonThreads => self.daemon(&mut listener)?,
            Case::KilledChild => {
                let (mut ready, mut is_ready) = UnixStream::pair()?;
                #[expect(unsafe_code, reason = "there is no other thread")]
                // SAFETY: the child may do whatever a program with one thread may.
                let ForkResult::Parent { child } = (unsafe { fork() })? else {
                    drop(is_ready);
                    let _leaked = self.dead(&mut listener)?;
                    ready.write_all(&[1])?;
                    // It outlives its parent in no case.
                    let _ = ready.read(&mut [0]);
                    exit();
                };
                is_ready.read_exact(&mut [0])?;
                self.keep();
                kill(child, Signal::SIGKILL)?;
            }
            Case::Inherited => {
                let done = self.forked(|| {
                    let _leaked = self.dead(&mut listener)?;
                    // The middle one exits at once, the child after it.
                    self.forked(|| {
                        self.keep();
                        Ok(())
                    })?;
                    Ok(())
                })?;
                wait_for_all(done)?;
            }
            Case::CloneParent => self.clone_parent(&mut listener)?,
            Case::Vfork => {
                let keep = self.keep.to_string();
                let mut command = Command::new("/proc/self/exe");
                let status = command.args(["plan", "exit", "--keep", &keep]).status()?;
                if !status.success() {
                    bail!("{status}");
                }
            }
            Case::ExecClosing | Case::ExecKeeping => {
                let leaked = self.dead(&mut listener)?;
                let is_kept = self.case == Case::ExecKeeping;
                for socket in &leaked {
                    let flag = if is_kept { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
                    fcntl(socket, FcntlArg::F_SETFD(flag))?;
                }
                self.keep();
                let after = if is_kept { "200" } else { "0" };
                let error = Command::new("/proc/self/exe")
                    .args(["plan", "both-open", "--keep", after])
                    .exec();
                return Err(error).context("exec");
            }
            Case::PassAway => {
                let leaked = self.dead(&mut listener)?;
                let to = self.to.as_ref().context("--to is missing")?;
                let channel = UnixStream::connect(to)?;
                send(&channel, &leaked)?;
                drop(leaked);
                self.keep();
                // It has been taken.
                (&channel).read_exact(&mut [0])?;
            }
            Case::InFlight | Case::InFlightAfterChild => {
                let leaked = self.dead(&mut listener)?;
                if self.case == Case::InFlightAfterChild {
                    wait_for_all(self.forked(|| Ok(()))?)?;
                }
                let (sender, _receiver) = UnixStream::pair()?;
                send(&sender, &leaked)?;
                drop(leaked);
                self.keep();
                exit();
            }
            Case::Reset | Case::ResetLate => {
                let (client, server) = pair(&mut listener)?;
                client.set_linger(Some(Duration::ZERO))?;
                drop(client);
                wait_for_both_ends(&server)?;
                self.keep();
                if self.case == Case::Reset {
                    exit();
                }
                drop(server);
                self.keep();
            }
            Case::Dead => {
                let (client, server) = pair(&mut listener)?;
                server.shutdown(Shutdown::Write)?;
                wait_for_end(&client)?;
                drop(client);
                wait_for_both_ends(&server)?;
                self.keep();
                exit();
            }
            Case::NeverAccepted => {
                visit(&mut listener)?;
                self.keep();
                exit();
            }
            Case::Threads => {
                let _leaked = self.dead(&mut listener)?;
                let keep = Duration::from_millis(self.keep);
                thread::spawn(move || {
                    thread::sleep(keep);
                    exit();
                });
                end_thread();
            }
            Case::HalfShut => {
                let (client, _server) = pair(&mut listener)?;
                client.shutdown(Shutdown::Write)?;
                self.keep();
                exit();
            }
            Case::Child => {
                let done = self.forked(|| Ok(()))?;
                wait_for_all(done)?;
                wait_for_stdin();
            }
            Case::Nothing => {
                println!("{}", getpid());
                wait_for_stdin();
            }
        }
        Ok(())
    }

    fn keep(&self) {
        thread::sleep(Duration::from_millis(self.keep));
    }

    /// Accepted connections whose peers have left.
    fn dead(&self, listener: &mut Listener) -> Result<Vec<Socket>> {
        (0..self.count)
            .map(|_| {
                let (client, server) = pair(listener)?;
                drop(client);
                wait_for_end(&server)?;
                Ok(server)
            })
            .collect()
    }

    /// Does something in a child, whose number it prints; what it gives can be read to its end once all
    /// have ended that have it.
    fn forked(&self, work: impl FnOnce() -> Result<()>) -> Result<OwnedFd> {
        let (reading, writing) = pipe()?;
        #[expect(unsafe_code, reason = "there is no other thread")]
        // SAFETY: the child may do whatever a program with one thread may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                println!("{}", getpid());
                drop(reading);
                let outcome = work();
                if outcome.is_ok() {
                    exit();
                }
                Err(outcome.err().context("no error")?)
            }
            ForkResult::Parent { child } => {
                drop(writing);
                if self.case == Case::Child {
                    waitpid(child, None)?;
                }
                Ok(reading)
            }
        }
    }

    /// Does something in a daemon, and waits until that has ended.
    fn in_daemon(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = self.forked(|| {
            setsid()?;
            self.forked(work)?;
            Ok(())
        })?;
        wait_for_all(done)
    }

    /// Starts a daemon that has the descriptors of stdin and a leak, and waits until it is there.
    fn daemon(&self, listener: &mut Listener) -> Result<()> {
        let (mut ready, mut is_ready) = UnixStream::pair()?;
        self.forked(|| {
            setsid()?;
            self.forked(|| {
                let _leaked = match self.case {
                    Case::DaemonQueue => visit(listener).map(|()| Vec::new())?,
                    _ => self.dead(listener)?,
                };
                self.keep();
                if self.case == Case::DaemonThreads {
                    thread::spawn(wait_for_stdin);
                    thread::spawn(move || -> Result<()> {
                        wait_until(has_leader_exited)?;
                        ready.write_all(&[1])?;
                        wait_for_stdin();
                        exit();
                    });
                    end_thread();
                }
                ready.write_all(&[1])?;
                wait_for_stdin();
                exit();
            })?;
            Ok(())
        })?;
        is_ready.read_exact(&mut [0])?;
        Ok(())
    }

    /// A child whose parent is ours: of its end we hear through a pipe.
    fn clone_parent(&self, listener: &mut Listener) -> Result<()> {
        let (reading, writing) = pipe()?;
        #[expect(unsafe_code, reason = "nix has no fork() with flags")]
        // SAFETY: without a stack of its own it is a fork(), and there is no other thread.
        let child = unsafe {
            let flags = nix::libc::CLONE_PARENT | nix::libc::SIGCHLD;
            nix::libc::syscall(nix::libc::SYS_clone, flags, 0, 0, 0, 0)
        };
        if child == 0 {
            drop(reading);
            let _leaked = self.dead(listener)?;
            self.keep();
            exit();
        }
        drop(writing);
        wait_for_all(reading)
    }
}

/// A client that leaves before it is accepted.
fn visit(listener: &mut Listener) -> Result<()> {
    drop(listener.connect()?);
    wait_until(|| Ok(listener.count_close_wait()? == 1))
}

fn pair(listener: &mut Listener) -> Result<(Socket, Socket)> {
    let client = listener.connect()?;
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

fn send(to: &UnixStream, sockets: &[Socket]) -> Result<()> {
    let rights: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[0])], &message, MsgFlags::empty(), None)?;
    Ok(())
}

/// Waits until all have ended that have the other end of a pipe.
fn wait_for_all(pipe: OwnedFd) -> Result<()> {
    let mut pipe = std::fs::File::from(pipe);
    pipe.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn has_leader_exited() -> Result<bool> {
    Ok(std::fs::read_to_string("/proc/self/stat")?.contains(") Z "))
}

fn wait_for_stdin() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Ends the process, and runs no destructor.
fn exit() -> ! {
    std::process::exit(0)
}

/// Ends the calling thread alone.
fn end_thread() -> ! {
    #[expect(unsafe_code, reason = "the leader of a process cannot end alone otherwise")]
    // SAFETY: what is on its stack stays as it is.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_exit, 0);
    }
    unreachable!("the kernel has ended this thread")
}
