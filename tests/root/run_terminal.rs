//! `run` at a terminal: the terminal's signals reach the command once, and job control works.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::libc;
use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};

use crate::common::run::command;
use crate::common::{DEADLINE, not_possible};

/// A run in a session of its own, at a terminal of its own.
struct Session {
    terminal: File,
    child: Child,
    said: String,
}

impl Session {
    /// Starts a command; `None` where there are no pseudo-terminals.
    fn start(test: &str, mut command: Command) -> Option<Self> {
        let pty = match openpty(None, None) {
            Ok(pty) => pty,
            Err(error) => {
                not_possible(test, format!("no pseudo-terminal: {error}"));
                return None;
            }
        };
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        #[expect(unsafe_code, reason = "it makes system calls")]
        // SAFETY: it allocates nothing.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        drop(pty.slave);
        Some(Self { terminal: pty.master.into(), child, said: String::new() })
    }

    /// Reads until the command has said something.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.said.contains(words) {
            assert!(Instant::now() < end, "no {words:?} in {:?}", self.said);
            let mut bytes = [0; 256];
            let length = self.terminal.read(&mut bytes).unwrap();
            self.said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    fn type_in(&mut self, key: u8) {
        self.terminal.write_all(&[key]).unwrap();
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 26;

#[test]
fn ctrl_c_reaches_the_command_once() {
    // It tells each; a second one would come before the end of the loop.
    let script = "n=0; trap 'n=$((n+1)); echo interrupt $n' INT; echo ready; \
                  while [ $n = 0 ]; do sleep 0.02; done; \
                  for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.02; done; echo $n in all; exit 3";
    let command = command(&[], &["sh", "-c", script]);
    let Some(mut session) = Session::start("run_terminal::ctrl_c", command) else { return };
    session.wait_for("ready");
    session.type_in(CTRL_C);
    session.wait_for("in all");
    assert!(session.said.contains("1 in all"), "{}", session.said);
    assert_eq!(session.child.wait().unwrap().code(), Some(3), "{}", session.said);
}

/// A shell with job control sees the job stop, as it would without sockleak, and continues it.
#[test]
fn ctrl_z_stops_all_and_fg_goes_on() {
    let run = command(&[], &["sh", "-c", "echo ready; read line; echo got $line; exit 4"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "set -m; \"$@\"; echo stopped with $?; fg; echo ended with $?", "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    let Some(mut session) = Session::start("run_terminal::ctrl_z", shell) else { return };
    session.wait_for("ready");
    session.type_in(CTRL_Z);
    session.wait_for("stopped with 148");
    session.terminal.write_all(b"hello\n").unwrap();
    session.wait_for("got hello");
    session.wait_for("ended with 4");
}
