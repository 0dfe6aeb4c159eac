//! SIGINT, SIGTERM and SIGHUP as something that can be waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{io, process, ptr, thread};

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::pipe2;

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// How long the main thread may take to end by itself, in ms. It may be stuck: in a write to a pipe
/// that nobody reads, or to a terminal that is stopped.
const PATIENCE: u16 = 1_500;

/// Readable once a signal has asked us to stop.
#[derive(Debug)]
pub struct Stop {
    pipe: OwnedFd,
    code: Arc<AtomicU8>,
}

impl Stop {
    /// Takes the signals over, but those that were ignored at the start, as nohup has it.
    ///
    /// To be called once in a process, before other threads are started, and after it has given up its
    /// capabilities: the thread that waits for signals would keep them.
    ///
    /// # Errors
    /// Where there is no descriptor left, or no thread can be started.
    pub fn on_signals() -> io::Result<Self> {
        let signals: SigSet = SIGNALS.into_iter().filter(|&signal| !is_ignored(signal)).collect();
        signals.thread_block()?;
        let source = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
        let (pipe, asked) = pipe2(OFlag::O_CLOEXEC)?;
        let code = Arc::new(AtomicU8::new(0));
        let last = Arc::clone(&code);
        thread::Builder::new().spawn(move || {
            while !matches!(source.read_signal(), Ok(Some(_))) {}
            // The end of its pipe can be waited for, too.
            drop(asked);
            // At a second signal, or when the time is over.
            let _ = poll(
                &mut [PollFd::new(source.as_fd(), PollFlags::POLLIN)],
                PollTimeout::from(PATIENCE),
            );
            process::exit(last.load(Ordering::Relaxed).into());
        })?;
        Ok(Self { pipe, code })
    }

    /// Sets the exit code of a process that does not end by itself in time.
    pub fn set_code(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn is_ignored(signal: Signal) -> bool {
    #[expect(unsafe_code, reason = "nix can only set an action; this asks for it")]
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(signal as libc::c_int, ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
