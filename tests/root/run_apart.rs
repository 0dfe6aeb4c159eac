//! `run` follows its own command and nothing else.

use std::fs;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::common::lines::Running;
use crate::common::run::{RunReport, command, plan};
use crate::common::{DEADLINE, Ran, leaker, not_possible, slow_machine};

/// A run that is under way, and its report.
fn start(words: &[String]) -> Running {
    Running::start(command(&["--json"], words).stdin(Stdio::piped()))
}

#[track_caller]
fn ended(mut run: Running) -> RunReport {
    run.rest(DEADLINE);
    let code = run.end(DEADLINE).code();
    let ran = Ran { code, stdout: Vec::new(), stderr: run.stderr() };
    RunReport::of(&ran)
}

#[track_caller]
fn report(run: Running) -> RunReport {
    let report = ended(run);
    assert!(report.complete, "{report:#?}");
    report
}

#[test]
fn two_runs_do_not_see_each_other() {
    let start = |count: usize| start(&plan(&["exit", "--count", &count.to_string()]));
    let runs: Vec<_> = (1..4).map(|count| (count, start(count))).collect();
    for (count, run) in runs {
        let mut report = ended(run);
        // As in `attempt`: an emulated machine may lose an event, and the command is run again.
        let reasons: Vec<_> = report.incomplete.iter().map(|one| one.reason.as_str()).collect();
        if slow_machine() && reasons == ["events-lost"] {
            report = ended(start(count));
        }
        assert!(report.complete, "{report:#?}");
        assert_eq!((report.leaked, report.sockets.len()), (count, count), "{report:#?}");
    }
}

/// A run inside of a run is a part of its command.
#[test]
fn a_run_in_a_run() {
    let inner = command(&["-O", "/dev/null"], &plan(&["exit"]));
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let report = report(start(&words));
    assert_eq!((report.leaked, report.command_exit_code), (1, Some(1)), "{report:#?}");
}

#[test]
fn other_processes_do_not_appear() {
    let mut run = start(&plan(&["nothing"]));
    assert!(run.line(DEADLINE).is_some());
    let outside = Ran::of(Command::new(leaker::binary()).args(["plan", "exit", "--count", "3"]));
    assert_eq!(outside.code, Some(0), "{outside:?}");
    drop(run.stdin().write_all(b"\n"));
    let report = end_stdin(run);
    assert_eq!((report.exit_code, report.leaked, report.too_young), (0, 0, 0), "{report:#?}");
}

/// Ends the stdin of a planted program that waits for that.
#[track_caller]
fn end_stdin(mut run: Running) -> RunReport {
    run.close_stdin();
    report(run)
}

/// A socket that a process outside has taken over is its own business.
#[test]
fn passed_to_a_process_outside() {
    let path = std::env::temp_dir().join(format!("sockleak-outside-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let run = start(&plan(&["pass-away", "--to", path.to_str().unwrap()]));
    let (mut channel, _) = listener.accept().unwrap();
    fs::remove_file(&path).unwrap();
    let taken = take(&channel);
    channel.write_all(&[1]).unwrap();
    let report = report(run);
    assert_eq!((report.exit_code, report.leaked), (0, 0), "{report:#?}");
    drop(taken);
}

/// The descriptor in a message.
fn take(channel: &impl AsRawFd) -> OwnedFd {
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let message =
        recvmsg::<()>(channel.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::empty()).unwrap();
    let rights = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    #[expect(unsafe_code, reason = "the kernel has just given it to us")]
    // SAFETY: nobody else knows of it.
    unsafe {
        OwnedFd::from_raw_fd(rights.unwrap())
    }
}

/// A child of the command exits; then a process outside gets its number, and leaks.
#[test]
fn a_number_that_is_used_again_is_no_descendant() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    const TRIES: usize = 200;
    let mut run = start(&plan(&["child"]));
    let line = run.line(DEADLINE).unwrap();
    let child: u32 = str::from_utf8(&line).unwrap().parse().unwrap();
    crate::common::wait_until("the child's end", || {
        fs::metadata(format!("/proc/{child}")).is_err()
    });
    let outside = (0..TRIES).find_map(|_| {
        fs::write(LAST_PID, (child - 1).to_string()).ok()?;
        let mut outside = Command::new(leaker::binary()).args(["plan", "exit"]).spawn().unwrap();
        let is_it = outside.id() == child;
        assert!(outside.wait().unwrap().success());
        is_it.then_some(())
    });
    let report = end_stdin(run);
    if outside.is_none() {
        not_possible("run_apart::a_number_that_is_used_again", "others were faster each time");
        return;
    }
    assert_eq!((report.exit_code, report.leaked), (0, 0), "{report:#?}");
}
