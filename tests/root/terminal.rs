//! What people see on a terminal: pages that are redrawn in place, on a pseudo-terminal of a known size,
//! and in tmux.

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

use crate::common::tool::{INTERVAL, binary};
use crate::common::{DEADLINE, Kind, Leaker, not_possible, wait_until};

const WIDTH: u16 = 80;
const HEIGHT: u16 = 24;

/// The tool on a terminal of 80×24, which stderr may be, too.
struct Shown {
    child: Child,
    read: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Shown {
    /// `None` where there are no pseudo-terminals.
    fn start(arguments: &[&str], stderr: bool) -> Option<Self> {
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

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Reads on until what was shown so far satisfies the condition.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
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

    /// Ends it; its exit code, and all that it has shown.
    fn stop(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        self.rest()
    }

    fn rest(&mut self) -> (Option<i32>, String) {
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
fn pages(text: &str) -> Vec<&str> {
    Regex::new("\x1b\\[[0-9]+A\r").unwrap().split(text).collect()
}

/// Without the codes that clear lines, or make them stand out.
fn plain(line: &str) -> String {
    ["\x1b[K", "\x1b[J", "\x1b[1m", "\x1b[0m"]
        .iter()
        .fold(line.to_owned(), |line, code| line.replace(code, ""))
}

#[test]
fn watch_redraws_one_page_in_place() {
    let mut first = Leaker::listening();
    let mut others = [first.start_beside(), first.start_beside()];
    first.plant(Kind::EofRead, 500);
    for other in &mut others {
        other.listen("v4");
        other.plant(Kind::EofRead, 500);
    }
    let netns = first.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, true) else {
        return not_possible("terminal::watch", "no pseudo-terminals");
    };
    watch.until("five pages", |text| pages(text).len() > 5);
    let (code, text) = watch.stop();
    assert_eq!(code, Some(1), "{text:?}");
    let pages = pages(&text);
    for (at, page) in pages.iter().enumerate() {
        assert!(page.len() < 4_096, "{} bytes: {page:?}", page.len());
        let lines: Vec<_> = page.lines().map(plain).collect();
        assert_eq!(lines.len(), usize::from(HEIGHT) - 1, "page {at} of {text:?}");
        for line in &lines {
            assert!(line.chars().count() <= usize::from(WIDTH), "{line:?}");
        }
        for leaker in [&first, &others[0], &others[1]] {
            let who = format!(" leaker[{}]", leaker.pid);
            let line = lines.iter().find(|line| line.contains(&who)).unwrap();
            assert!(line.trim_start().starts_with("500 "), "{line}");
        }
        let rows = lines.iter().filter(|line| line.ends_with(" eof-read")).count();
        let more = format!("… 1,{} more: -a shows all", 500 - rows);
        assert!(lines.contains(&more), "{more} in {page}");
    }
    // Each went up by as many lines as the one before had.
    let up = format!("\x1b[{}A\r", usize::from(HEIGHT) - 1);
    assert_eq!(text.matches(&up).count(), pages.len() - 1, "{text:?}");
}

#[test]
fn a_status_says_that_nothing_is_leaked_and_goes_when_something_is() {
    let mut leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, true) else {
        return not_possible("terminal::status", "no pseudo-terminals");
    };
    let status = "nothing leaked (filtered, ";
    watch.until("a status in place", |text| text.matches(status).count() > 2);
    let text = watch.text();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("watching ") && first.contains(" TCP sockets: "), "{text:?}");
    let leak = leaker.leak();
    watch.until("the leak", |text| text.contains(&leak.remote));
    let text = watch.text();
    let last = *pages(&text).last().unwrap();
    assert!(!last.contains("watching "), "the status is gone: {last:?}");
    leaker.close(leak.fd());
    let seen = text.len();
    watch.until("the status again", |text| text[seen..].contains(status));
    assert_eq!(watch.stop().0, Some(0));
}

#[test]
fn stdout_stays_silent_while_nothing_is_leaked() {
    let leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--count", "3", "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, false) else {
        return not_possible("terminal::silent", "no pseudo-terminals");
    };
    assert_eq!(watch.rest(), (Some(0), String::new()));
}

#[test]
fn list_shows_a_summary_first_and_as_many_rows_as_fit() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 100);
    let netns = leaker.netns.to_string();
    let shown = |more: &[&str]| {
        let arguments = [&["list", "--netns", &netns][..], more].concat();
        let (code, text) = Shown::start(&arguments, true)?.rest();
        assert_eq!(code, Some(1), "{text}");
        Some(text.lines().map(plain).collect::<Vec<_>>())
    };
    let Some(page) = shown(&[]) else {
        return not_possible("terminal::list", "no pseudo-terminals");
    };
    let rows = |lines: &[String]| lines.iter().filter(|line| line.ends_with(" eof-read")).count();
    assert_eq!(page.len(), usize::from(HEIGHT) - 1, "{page:?}");
    assert!(page[0].starts_with("LEAKED "), "{page:?}");
    assert!(page[1].contains(&format!(" leaker[{}]", leaker.pid)), "{page:?}");
    assert!(page.contains(&format!("… {} more: -a shows all", 100 - rows(&page))), "{page:?}");
    assert_eq!(rows(&shown(&["-a"]).unwrap()), 100);
    assert_eq!(rows(&shown(&["-n", "50"]).unwrap()), 50);
    assert_eq!(rows(&shown(&["--summary"]).unwrap()), 0);
    let json = shown(&["-j"]).unwrap();
    assert_eq!(json.len(), 1, "JSON is whole");
    assert_eq!(json[0].matches("\"eof-read\"").count(), 100);
}

/// A session of tmux, which ends with its test.
struct Tmux(String);

impl Tmux {
    fn start(command: &str) -> Option<Self> {
        let name = format!("sockleak-test-{}", std::process::id());
        let tmux = Self(name);
        let start = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command];
        let started = tmux.command(&start).output().ok()?;
        assert!(started.status.success(), "{started:?}");
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.0]).args(arguments).env("LC_ALL", "C.UTF-8");
        command
    }

    fn screen(&self) -> Vec<String> {
        let shown = self.command(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// How many lines have scrolled out of sight.
    fn scrolled(&self) -> String {
        let history = self.command(&["display-message", "-p", "#{history_size}"]).output().unwrap();
        String::from_utf8(history.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
    }
}

/// A real terminal: nothing scrolls, one page is there, and it follows the terminal's size.
#[test]
fn in_tmux_the_page_follows_the_size_of_the_terminal() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 100);
    let command = format!(
        "{} watch --interval {INTERVAL} --netns {}",
        binary().canonicalize().unwrap().display(),
        leaker.netns
    );
    let Some(tmux) = Tmux::start(&command) else {
        return not_possible("terminal::tmux", "no tmux");
    };
    let is_page = |width: usize, height: usize| {
        let screen = tmux.screen();
        let filled = screen.iter().filter(|line| !line.is_empty()).count();
        let titles = screen.iter().filter(|line| line.starts_with("LEAKED ")).count();
        titles == 1
            && filled == height - 1
            && screen[0].ends_with('Z')
            && screen.iter().all(|line| line.chars().count() <= width)
    };
    wait_until("a page of 80×24", || is_page(80, 24));
    let first = tmux.screen()[0].clone();
    wait_until("the next page", || is_page(80, 24) && tmux.screen()[0] != first);
    assert_eq!(tmux.scrolled(), "0", "nothing scrolls");
    for (width, height) in [(120, 40), (60, 12), (80, 24)] {
        let size = ["-x", &width.to_string(), "-y", &height.to_string()].map(str::to_owned);
        let resize = ["resize-window", &size[0], &size[1], &size[2], &size[3]];
        assert!(tmux.command(&resize).status().unwrap().success());
        wait_until("a page of another size", || is_page(width, height));
    }
}
