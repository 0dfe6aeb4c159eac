//! In a time namespace, whose clock is shifted, ages are those that they are elsewhere.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::libc;
use nix::unistd::gettid;

use crate::common::lines::Running;
use crate::common::tool::{Event, Ran, binary};
use crate::common::{
    DEADLINE, Events, Leaker, Report, Watch, list, need_root, not_possible, wait_until,
};

/// Runs a closure in a thread whose children are in a new time namespace, whose clocks are ahead by so
/// many seconds.
#[allow(unsafe_code, reason = "nix has no time namespaces; it touches no memory")]
fn shifted<T: Send>(seconds: i64, work: impl FnOnce() -> T + Send) -> T {
    need_root();
    thread::scope(|scope| {
        let run = || {
            let done = unsafe { libc::unshare(libc::CLONE_NEWTIME) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            let offsets = format!("/proc/{}/timens_offsets", gettid());
            let both = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
            fs::write(offsets, both).unwrap();
            work()
        };
        let worker = scope.spawn(run);
        worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

/// The tool. It is started by fork(): who shares its parent's memory for a while, as vfork() has it,
/// cannot move to another time namespace before Linux 6.
#[allow(unsafe_code, reason = "it does nothing")]
fn tool() -> Command {
    let mut command = Command::new(binary());
    unsafe { command.pre_exec(|| Ok(())) };
    command
}

/// Ahead, and behind; no clock may be negative.
fn shifts() -> [i64; 2] {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: i64 = uptime.split('.').next().unwrap().parse().unwrap();
    [100_000, -(seconds / 2).min(300)]
}

fn can_shift(test: &str) -> bool {
    let exists = Path::new("/proc/self/ns/time").exists();
    if !exists {
        not_possible(test, "this kernel has no time namespaces");
        return false;
    }
    // Before Linux 6.2, whoever is about to move to another one cannot start threads.
    let starts = shifted(0, || thread::Builder::new().spawn(|| ()).is_ok());
    if !starts {
        not_possible(test, "this kernel moves no thread to another time namespace");
    }
    starts
}

fn age(report: &Report) -> f64 {
    report.only_row().age_seconds.unwrap()
}

fn list_shifted(seconds: i64, leaker: &Leaker, options: &[&str]) -> Ran {
    let netns = leaker.netns.to_string();
    let mut command = tool();
    command.args(["list", "--json", "--netns", &netns]).args(options);
    shifted(seconds, || Ran::of(&mut command))
}

#[test]
fn list_shows_the_age_that_it_shows_outside() {
    if !can_shift("timens::list_shows_the_age_that_it_shows_outside") {
        return;
    }
    let mut leaker = Leaker::listening();
    leaker.leak();
    // A jiffy and a rounded millisecond either way.
    let slack = 0.1;
    for seconds in shifts() {
        let before = age(&list(&leaker, &[]));
        let report = list_shifted(seconds, &leaker, &[]).report();
        let (inside, process) = (age(&report), report.process(leaker.pid).unwrap());
        assert!(process.cmdline.is_some() && process.started.is_some(), "{process:#?}");
        let after = age(&list(&leaker, &[]));
        assert!(before - slack <= inside && inside <= after + slack, "{before} {inside} {after}");
    }
}

#[test]
fn a_least_age_means_the_same() {
    if !can_shift("timens::a_least_age_means_the_same") {
        return;
    }
    let mut leaker = Leaker::listening();
    leaker.leak();
    for seconds in shifts() {
        assert_eq!(list_shifted(seconds, &leaker, &["--min-age", "1h"]).code, Some(0));
    }
    wait_until("the leak is two seconds old", || age(&list(&leaker, &[])) >= 2.0);
    for seconds in shifts() {
        assert_eq!(list_shifted(seconds, &leaker, &["--min-age", "2s"]).code, Some(1));
    }
}

#[test]
fn watch_is_exact() {
    if !can_shift("timens::watch_is_exact") {
        return;
    }
    for seconds in shifts() {
        let mut leaker = Leaker::listening();
        let netns = leaker.netns.to_string();
        let mut command = tool();
        command.args(["watch", "--json", "--interval", "200ms", "--netns", &netns]);
        command.stdin(Stdio::null());
        let mut inside = shifted(seconds, || Running::start(&mut command));
        let mut next = || Report::parse(&inside.line(DEADLINE).unwrap());
        next();
        let mut outside = Watch::start(&leaker, &[]);
        leaker.leak();
        let is_exact = |report: &Report| report.sockets.len() == 1 && report.all_ages_are("exact");
        let expected = outside.wait_for("the leak", is_exact);
        let mut seen = next();
        wait_until("the leak is seen inside", || {
            seen = next();
            is_exact(&seen)
        });
        // Both clocks of a report tell when the leak began.
        let began = |report: &Report| report.made_at() - Duration::from_secs_f64(age(report));
        let (inside, outside) = (began(&seen), began(&expected));
        let apart = inside.max(outside).duration_since(inside.min(outside)).unwrap();
        assert!(apart < Duration::from_millis(100), "{apart:?} apart with {seconds} s");
    }
}

#[test]
fn events_have_the_right_time_of_day() {
    if !can_shift("timens::events_have_the_right_time_of_day") {
        return;
    }
    for seconds in shifts() {
        let mut leaker = Leaker::listening();
        let listener = leaker.listen("v4");
        let mut events = shifted(seconds, || Events::start_by(tool(), &mut leaker));
        let before = SystemTime::now();
        let leak = leaker.leak();
        let left =
            |event: &Event| event.remote == leak.remote && event.is("ESTABLISHED", "CLOSE_WAIT");
        let seen = events.until(&listener, left);
        let time = humantime::parse_rfc3339(&seen.last().unwrap().time).unwrap();
        let after = SystemTime::now();
        // Printed to the millisecond.
        assert!(
            time + Duration::from_millis(2) >= before && time <= after,
            "{before:?} {time:?} {after:?}"
        );
    }
}
