//! SIGINT, SIGTERM and SIGHUP as something that can be waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use std::{io, process, ptr, thread};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::pipe2;

/// The signals that `ctrlc` takes over.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// How long the main thread may take to end by itself. It may be stuck: in a write to a pipe that
/// nobody reads, or to a terminal that is stopped.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Readable once a signal has asked us to stop.
#[derive(Debug)]
pub struct Stop {
    pipe: OwnedFd,
    code: Arc<AtomicU8>,
}

impl Stop {
    /// Takes the signals over, but those that were ignored at the start, as nohup has it.
    ///
    /// To be called once in a process, and after it has given up its capabilities: the thread that waits for signals would keep them.
    ///
    /// # Errors
    /// Where there is no descriptor left, or no thread can be started.
    pub fn on_signals() -> io::Result<Self> {
        let ignored: Vec<_> = SIGNALS.into_iter().filter(|&signal| is_ignored(signal)).collect();
        let (pipe, asked) = pipe2(OFlag::O_CLOEXEC)?;
        let code = Arc::new(AtomicU8::new(0));
        let last = Arc::clone(&code);
        let mut asked = Some(asked);
        ctrlc::set_handler(move || {
            let last = Arc::clone(&last);
            let end = move || process::exit(last.load(Ordering::Relaxed).into());
            // The end of its pipe can be waited for, too.
            if asked.take().is_none() {
                // The second signal.
                end();
            }
            let end_in_time = move || {
                thread::sleep(PATIENCE);
                end();
            };
            // Without a thread there is no time to wait.
            if thread::Builder::new().spawn(end_in_time).is_err() {
                process::exit(1);
            }
        })
        .map_err(io::Error::other)?;
        for ignored in ignored {
            #[expect(unsafe_code, reason = "to ignore a signal touches no memory")]
            unsafe {
                signal(ignored, SigHandler::SigIgn)?;
            }
        }
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

/// Returns true if this process ignores a signal.
pub fn is_ignored(signal: Signal) -> bool {
    #[expect(unsafe_code, reason = "nix can only set an action; this asks for it")]
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(signal as libc::c_int, ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
