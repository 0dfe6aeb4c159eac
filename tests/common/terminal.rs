//! A tool on a pseudo-terminal of a known size.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::errno::Errno;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

use super::tool::binary;
use super::{DEADLINE, wait_until};

pub(crate) const WIDTH: u16 = 80;
pub(crate) const HEIGHT: u16 = 24;

/// The tool on a terminal of 80×24, which stderr may be, too.
pub(crate) struct Shown {
    child: Child,
    read: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Shown {
    /// `None` where there are no pseudo-terminals.
    pub(crate) fn start(arguments: &[&str], stderr: bool) -> Option<Self> {
        let size = Winsize { ws_row: HEIGHT, ws_col: WIDTH, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = match openpty(Some(&size), None) {
            Ok(pty) => pty,
            Err(Errno::ENOENT | Errno::ENODEV) => return None,
            Err(error) => panic!("openpty: {error}"),
        };
        let mut command = Command::new(binary());
        command.args(arguments).env_remove("NO_COLOR").env("TERM", "xterm-256color");
        command.stdin(Stdio::null());
        if stderr {
            command.stderr(pty.slave.try_clone().unwrap());
        } else {
            command.stderr(Stdio::null());
        }
        let child = command.stdout(pty.slave).spawn().unwrap();
        // The command keeps the terminal's other end open; without it the reader sees the end.
        drop(command);
        let (send, read) = channel();
        let mut master = File::from(pty.master);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            // A terminal whose last user has left gives an error instead of an end of file.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, read, bytes: Vec::new() })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Reads on until what was shown so far satisfies the condition.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds(&self.text()) {
            let left = end.saturating_duration_since(Instant::now());
            match self.read.recv_timeout(left) {
                Ok(bytes) => self.bytes.extend(bytes),
                Err(error) => {
                    let text = self.text();
                    let last = text.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
                    panic!("{error} without {what}; at last: {:?}", &text[last..]);
                }
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Ends it; its exit code, and all that it has shown.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::SIGINT);
        self.rest()
    }

    pub(crate) fn rest(&mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("the tool ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        while let Ok(bytes) = self.read.recv_timeout(DEADLINE) {
            self.bytes.extend(bytes);
        }
        (status.unwrap().code(), self.text())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pages that replaced one another: before each but the first the cursor goes up by some lines, and
/// to the left.
pub(crate) fn pages(text: &str) -> Vec<&str> {
    Regex::new("\x1b\\[[0-9]+A\r").unwrap().split(text).collect()
}

/// Without the codes that clear lines, or make them stand out.
pub(crate) fn plain(line: &str) -> String {
    ["\x1b[K", "\x1b[J", "\x1b[1m", "\x1b[0m"]
        .iter()
        .fold(line.to_owned(), |line, code| line.replace(code, ""))
}
