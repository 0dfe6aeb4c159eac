//! The terminals that stdout and stderr may be.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{SFlag, fstat};
use terminal_size::{Height, Width, terminal_size_of};

/// The controlling terminal, whichever it is: the number of /dev/tty.
const DEV_TTY: u64 = nix::sys::stat::makedev(5, 0);

/// How many columns and lines a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// A terminal that does not say how large it is.
const USUAL: Size = Size { width: 80, height: 24 };

/// The size of a terminal on which a cursor can be moved; `None` where it is something else.
pub fn size(of: &(impl AsFd + IsTerminal)) -> Option<Size> {
    if !of.is_terminal() || env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return None;
    }
    let size = terminal_size_of(of)
        .map(|(Width(width), Height(height))| Size { width: width.into(), height: height.into() });
    Some(size.unwrap_or(USUAL))
}

/// Notices that this process was stopped, and goes on: meanwhile somebody else had the terminal.
#[derive(Debug)]
pub struct Resumed(SignalFd);

impl Resumed {
    /// Begins to notice it. To be called before there are other threads: they would take the signal away.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn notice() -> io::Result<Self> {
        let goes_on = SigSet::from(Signal::SIGCONT);
        goes_on.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&goes_on, flags)?))
    }

    /// True if that has happened since the last call.
    pub fn take(&self) -> bool {
        // One signal waits at the most.
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// True if two terminals are one, as far as can be told.
pub fn are_one(a: &impl AsFd, b: &impl AsFd) -> bool {
    match (fstat(a), fstat(b)) {
        (Ok(a), Ok(b)) => a.st_rdev == b.st_rdev || [a.st_rdev, b.st_rdev].contains(&DEV_TTY),
        _ => true,
    }
}

/// True if somebody reads at the other end, who may write to the same terminal as we do.
pub fn is_pipe(of: &impl AsFd) -> bool {
    fstat(of).is_ok_and(|stat| {
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        matches!(kind, SFlag::S_IFIFO | SFlag::S_IFSOCK)
    })
}
