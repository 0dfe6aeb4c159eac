//! Signals end the tool in time and with the right code, also while nobody reads what it writes.

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary};
use crate::common::{DEADLINE, Kind, Leaker, Report, slow_machine, wait_until};

/// How long it waits for a write to end: `PATIENCE` of src/host/stop.rs.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A tool whose stdout is a full pipe. It ends with the test.
struct Stuck(Child);

impl Stuck {
    /// Starts it, and has something happen until the pipe is full.
    fn start(leaker: &mut Leaker, arguments: &[&str], happen: impl Fn(&mut Leaker)) -> Self {
        let netns = leaker.netns.to_string();
        let mut command = Command::new(binary());
        command.args(arguments).args(["--netns", &netns]).stdin(Stdio::null());
        let stuck = Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let size = stuck.pipe(libc::F_GETPIPE_SZ);
        wait_until("the pipe is full", || {
            happen(leaker);
            // A write that has room for less than a page waits.
            stuck.waiting() + 4096 > size
        });
        stuck
    }

    #[allow(unsafe_code, reason = "nix names only some of the commands; it touches no memory")]
    fn pipe(&self, command: libc::c_int) -> i32 {
        unsafe { libc::fcntl(self.0.stdout.as_ref().unwrap().as_raw_fd(), command) }
    }

    /// How many bytes wait to be read.
    #[allow(unsafe_code, reason = "nix has no FIONREAD")]
    fn waiting(&self) -> i32 {
        let mut bytes = 0;
        let pipe = self.0.stdout.as_ref().unwrap().as_raw_fd();
        assert_eq!(unsafe { libc::ioctl(pipe, libc::FIONREAD, &raw mut bytes) }, 0);
        bytes
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// The exit code, and how long it took.
    fn end(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        let mut status = None;
        wait_until("the tool ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), begin.elapsed())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NOTHING: fn(&mut Leaker) = |_| {};
const WATCH: [&str; 3] = ["watch", "--interval", INTERVAL];

#[test]
fn a_signal_ends_a_watch_that_nobody_reads() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2000);
    let mut stuck: Vec<_> = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .zip([&[][..], &["--json"], &[]])
        .map(|(signal, more)| {
            let stuck = Stuck::start(&mut leaker, &[&WATCH[..], more].concat(), NOTHING);
            stuck.signal(signal);
            (signal, stuck)
        })
        .collect();
    for (signal, stuck) in &mut stuck {
        let (code, time) = stuck.end();
        assert_eq!(code, Some(1), "{signal}");
        assert!(slow_machine() || time < 3 * PATIENCE, "{signal}: {time:?}");
    }
}

#[test]
fn a_signal_ends_events_that_nobody_reads() {
    let mut leaker = Leaker::listening();
    let churn = |leaker: &mut Leaker| _ = leaker.churn(100, 1000);
    let mut stuck = Stuck::start(&mut leaker, &["events", "--json"], churn);
    stuck.signal(Signal::SIGTERM);
    let (code, time) = stuck.end();
    // 4 where so many events happened meanwhile that some were lost.
    assert!(matches!(code, Some(0 | 4)), "{code:?}");
    assert!(slow_machine() || time < 3 * PATIENCE, "{time:?}");
}

/// Without waiting for the first to have an effect. On a busy machine, once in some attempts is enough.
#[test]
fn a_second_signal_ends_it_at_once() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2000);
    let ends_at_once = || {
        let mut stuck = Stuck::start(&mut leaker, &WATCH, NOTHING);
        stuck.signal(Signal::SIGINT);
        stuck.signal(Signal::SIGTERM);
        let (code, time) = stuck.end();
        assert_eq!(code, Some(1));
        time < PATIENCE
    };
    assert!(std::iter::repeat_with(ends_at_once).take(5).any(|at_once| at_once));
}

/// As nohup starts it.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    for (ignored, trap) in [(Signal::SIGHUP, "HUP"), (Signal::SIGINT, "INT")] {
        let leaker = Leaker::listening();
        let netns = leaker.netns.to_string();
        let mut command = Command::new("sh");
        let exec = format!(r#"trap '' {trap}; exec "$0" "$@""#);
        command.args(["-c", &exec]).arg(binary()).args(WATCH).args(["--json", "--netns", &netns]);
        let mut watch = Running::start(command.stdin(Stdio::null()));
        watch.line(DEADLINE).unwrap();
        watch.signal(ignored);
        let sent = SystemTime::now();
        while Report::parse(&watch.line(DEADLINE).expect("it goes on")).made_at() <= sent {}
        watch.signal(Signal::SIGTERM);
        assert_eq!(watch.end(DEADLINE).code(), Some(0), "{ignored}");
    }
}
