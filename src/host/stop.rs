//! SIGINT, SIGTERM and SIGHUP as something that can be waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, write};

/// Readable once a signal has asked us to stop.
#[derive(Debug)]
pub struct Stop {
    pipe: OwnedFd,
}

impl Stop {
    /// Takes the signals over; once in a process, and after it has given up its capabilities: the
    /// thread that waits for signals would keep them.
    ///
    /// # Errors
    /// Where there is no descriptor left, or the signals are taken already.
    pub fn on_signals() -> io::Result<Self> {
        let (pipe, signalled) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A full pipe has said it already.
        ctrlc::set_handler(move || _ = write(&signalled, b"!")).map_err(io::Error::other)?;
        Ok(Self { pipe })
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
