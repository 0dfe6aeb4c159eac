//! Signals that reach sockleak while a command runs.
//!
//! The terminal's go to the whole foreground process group, and so to the command already; those that
//! a process has sent are passed on.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, close};

use crate::host::stop::is_ignored;

/// The signals that are passed on.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// stdin, stdout and stderr.
const STREAMS: Range<i32> = 0..3;

/// True if the caller ignores SIGPIPE. From `main` on Rust ignores it in any case, so it is asked before.
static PIPES_WERE_IGNORED: AtomicBool = AtomicBool::new(false);

/// A bit for each of stdin, stdout and stderr that the caller has closed. Rust opens /dev/null there.
static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn note_settings() {
    PIPES_WERE_IGNORED.store(is_ignored(Signal::SIGPIPE), Ordering::Relaxed);
    for fd in STREAMS {
        #[expect(unsafe_code, reason = "nix wants a descriptor that is open")]
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        CLOSED.fetch_or(u8::from(flags < 0) << fd, Ordering::Relaxed);
    }
}

#[used]
#[expect(unsafe_code, reason = "the loader calls what is in this section before main")]
#[unsafe(link_section = ".init_array")]
static NOTE_SETTINGS: extern "C" fn() = note_settings;

/// The signals, held back and read one by one. Their blocking is undone in the command alone.
#[derive(Debug)]
pub struct Signals {
    waiting: SignalFd,
    received: Received,
}

/// Settings of this process as it was started, for a child to be started with the same.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    mask: SigSet,
    ignores_children: bool,
}

impl Signals {
    /// Holds back the signals.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn hold() -> io::Result<Self> {
        let mut held = SigSet::from_iter(PASSED_ON);
        held.add(Signal::SIGCHLD);
        let mut mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut mask))?;
        // Who ignores SIGCHLD does not hear how its children end.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        #[expect(unsafe_code, reason = "the default action touches no memory")]
        let before = unsafe { sigaction(Signal::SIGCHLD, &default)? };
        let ignores_children = matches!(before.handler(), SigHandler::SigIgn);
        let waiting = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { waiting, received: Received { mask, ignores_children } })
    }

    /// The settings as they were before.
    pub fn received(&self) -> Received {
        self.received
    }

    /// Passes on what processes have sent; says whether a child may have changed its state.
    ///
    /// # Errors
    /// Where the signals cannot be read.
    pub fn pass_on(&self, child: Pid) -> io::Result<bool> {
        let mut has_changed = false;
        loop {
            let info = match self.waiting.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) => return Ok(has_changed),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
            match signal {
                Some(Signal::SIGCHLD) => has_changed = true,
                Some(signal) if is_for_us_alone(info.ssi_code, info.ssi_pid, child) => {
                    // One that has ended needs no signal.
                    let _ = kill(child, signal);
                }
                _ => {}
            }
        }
    }
}

/// Returns true for what a process has sent, and not the kernel; except the command itself, which signals
/// its own group.
fn is_for_us_alone(code: i32, sender: u32, child: Pid) -> bool {
    let is_by_process = [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&code);
    is_by_process && i32::try_from(sender) != Ok(child.as_raw())
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Received {
    /// Restores the settings, between fork() and exec().
    ///
    /// # Errors
    /// Where the kernel does not allow it.
    pub fn restore(&self) -> io::Result<()> {
        let pipes = PIPES_WERE_IGNORED.load(Ordering::Relaxed).then_some(Signal::SIGPIPE);
        let children = self.ignores_children.then_some(Signal::SIGCHLD);
        for signal in pipes.into_iter().chain(children) {
            let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
            #[expect(unsafe_code, reason = "to ignore a signal touches no memory")]
            unsafe {
                sigaction(signal, &ignore)?;
            }
        }
        let closed = CLOSED.load(Ordering::Relaxed);
        STREAMS.filter(|fd| closed & 1 << fd != 0).try_for_each(close)?;
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_have_sent_is_passed_on() {
        let child = Pid::from_raw(70);
        assert!(is_for_us_alone(libc::SI_USER, 60, child));
        assert!(is_for_us_alone(libc::SI_QUEUE, 60, child));
        assert!(!is_for_us_alone(libc::SI_USER, 70, child), "its own");
        assert!(!is_for_us_alone(libc::SI_KERNEL, 0, child), "the terminal's");
    }
}
