//! Starts the command, as if there were no sockleak between it and its caller.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::Pid;

use super::gate::{FAILED, NOT_EXECUTABLE, NOT_FOUND};
use super::report::Outcome;
use super::signals::Received;
use crate::host::user::Caller;

/// Limits that the start of sockleak may raise.
const RAISED: [Resource; 2] = [Resource::RLIMIT_NOFILE, Resource::RLIMIT_MEMLOCK];

/// The limits that this process was started with.
#[derive(Clone, Copy, Debug)]
pub struct Limits([Option<(rlim_t, rlim_t)>; 2]);

impl Limits {
    /// Notes them; to be called before anything is loaded.
    pub fn received() -> Self {
        Self(RAISED.map(|limit| getrlimit(limit).ok()))
    }

    fn restore(&self) -> io::Result<()> {
        for (limit, received) in RAISED.into_iter().zip(self.0) {
            if let Some((soft, hard)) = received {
                setrlimit(limit, soft, hard)?;
            }
        }
        Ok(())
    }
}

/// A command that does not start.
#[derive(Debug)]
pub struct NotStarted {
    /// The exit code that a shell gives it.
    pub code: u8,
    /// Why.
    pub error: io::Error,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running(Pid);

/// Starts a command with these words: as the caller, if one is given, and with the settings that
/// sockleak was started with. All descriptors of ours are closed by its exec().
///
/// # Errors
/// Where there is no such program, or the kernel does not execute it.
pub fn start(
    words: &[OsString],
    caller: Option<&Caller>,
    received: Received,
    limits: Limits,
) -> Result<Running, NotStarted> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(NotStarted { code: NOT_FOUND, error: io::ErrorKind::NotFound.into() });
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(caller) = caller {
        command.envs(caller.environment.iter().map(|(name, value)| (name, value)));
    }
    let caller = caller.cloned();
    let prepare = move || {
        limits.restore()?;
        if let Some(caller) = &caller {
            caller.assume()?;
        }
        received.restore()
    };
    #[expect(unsafe_code, reason = "it makes system calls, and allocates nothing")]
    unsafe {
        command.pre_exec(prepare);
    }
    let started = command.spawn().map(|child| Running(Pid::from_raw(child.id().cast_signed())));
    started.map_err(|error| {
        let code = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => NOT_FOUND,
            // The program may be as it should be: there is no room for a process.
            Some(libc::EAGAIN | libc::ENOMEM) => FAILED,
            _ => NOT_EXECUTABLE,
        };
        NotStarted { code, error }
    })
}

impl Running {
    /// Its number.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// How it has ended, if it has. Takes the ends of others, too: as the first process of a container,
    /// sockleak inherits orphans, and without it they stay.
    ///
    /// # Errors
    /// Where the kernel does not know it.
    pub fn outcome(&mut self) -> io::Result<Option<Outcome>> {
        loop {
            let mut status = 0;
            #[expect(unsafe_code, reason = "nix does not know the numbers of real-time signals")]
            let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            match Errno::result(ended) {
                Ok(0) => return Ok(None),
                Ok(ended) if ended == self.0.as_raw() => {
                    return Ok(Some(outcome(ExitStatus::from_raw(status))));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    let byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(byte(code)),
        (None, signal) => Outcome::Killed(byte(signal.unwrap_or(0))),
    }
}
