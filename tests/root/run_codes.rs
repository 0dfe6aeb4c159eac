//! Exit codes of `run`, and what it says when something is amiss.

use std::os::unix::process::CommandExt;
use std::process::Command;

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, setrlimit};

use crate::common::run::{RunReport, attempt, command, plan, planted, run};
use crate::common::{Ran, slow_machine};

fn text(options: &[&str], words: &[String]) -> Ran {
    attempt(options, words)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_clean_command_gets_its_own_code_and_no_report() {
    let ran = text(&[], &words(&["true"]));
    assert_eq!((ran.code, &*ran.stderr, &ran.stdout[..]), (Some(0), "", &b""[..]), "{ran:?}");
    let ran = text(&[], &words(&["sh", "-c", "exit 7"]));
    assert_eq!((ran.code, &*ran.stderr), (Some(7), ""), "{ran:?}");
    let ran = text(&[], &words(&["sh", "-c", "kill -TERM $$"]));
    assert_eq!((ran.code, &*ran.stderr), (Some(143), ""), "{ran:?}");
}

#[test]
fn a_leak_fails_a_command_that_succeeds() {
    let leak = plan(&["exit"]);
    assert_eq!(text(&[], &leak).code, Some(1));
    assert_eq!(text(&["--leak-exit-code", "77"], &leak).code, Some(77));
    assert_eq!(text(&["--max-leaks", "1"], &leak).code, Some(0));
    assert_eq!(text(&["--max-leaks", "1"], &plan(&["exit", "--count", "2"])).code, Some(1));
    // The leak is told, and the command's own code counts.
    let script = format!("{}; exit 9", leak.join(" "));
    let (ran, report) = run(&[], &words(&["sh", "-c", &script]));
    assert_eq!((ran.code, report.command_exit_code, report.leaked), (Some(9), Some(9), 1));
}

#[test]
fn the_text_says_all_of_it() {
    let ran = text(&[], &plan(&["exit"]));
    let lines: Vec<_> = ran.stderr.lines().collect();
    let [header, row, process, verdict, summary] = lines[..] else { panic!("{ran:?}") };
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(columns, ["DEAD", "PID", "COMM", "FD", "LOCAL", "REMOTE", "VERDICT", "ENDED"]);
    assert!(row.ends_with("eof-unread, accepted at exit"), "{ran:?}");
    assert!(process.starts_with("leaker[") && process.ends_with(" plan exit"), "{ran:?}");
    assert!(verdict.starts_with("eof-unread: the peer left"), "{ran:?}");
    assert_eq!(summary, "sockleak: 1 leaked; the command exited with 0; exit code 1");
    let ran = text(&["--teardown", "60s"], &plan(&["teardown"]));
    assert!(ran.stderr.contains(" before exit\n"), "{ran:?}");
    let ran = text(&["--min-age", "1h"], &plan(&["exit"]));
    assert!(ran.stderr.contains("sockleak: 1 socket died less than 1h before the end"), "{ran:?}");
}

#[test]
fn what_cannot_be_run_has_the_codes_of_a_shell() {
    let ran = text(&[], &words(&["no-such-program-anywhere"]));
    assert_eq!(ran.code, Some(127), "{ran:?}");
    assert!(ran.stderr.contains("cannot run no-such-program-anywhere: No such file"), "{ran:?}");
    let ran = text(&[], &words(&["/dev/null"]));
    assert_eq!(ran.code, Some(126), "{ran:?}");
    assert!(ran.stderr.contains("cannot run /dev/null: Permission denied"), "{ran:?}");
}

/// The user who called sudo may have no process more.
#[test]
fn a_command_without_room_was_not_started() {
    let mut other = Command::new("sleep").arg("600").uid(65534).spawn().unwrap();
    let mut crowded = command(&[], &words(&["true"]));
    crowded.env("SUDO_UID", "65534").env("SUDO_GID", "65534").env("SUDO_USER", "nobody");
    #[expect(unsafe_code, reason = "it makes a system call")]
    // SAFETY: it allocates nothing.
    unsafe {
        crowded.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NPROC, 0, 0)?));
    }
    let ran = Ran::of(&mut crowded);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("cannot run true: Resource temporarily unavailable"), "{ran:?}");
}

#[test]
fn a_failure_before_the_start_is_no_code_of_the_command() {
    let marker = std::env::temp_dir().join(format!("started-{}", std::process::id()));
    let touch = words(&["touch", marker.to_str().unwrap()]);
    for bad in ["-O", "--junit"] {
        let ran = text(&[bad, "/no/such/folder/file"], &touch);
        assert_eq!(ran.code, Some(125), "{ran:?}");
        assert!(ran.stderr.contains("cannot open /no/such/folder/file"), "{ran:?}");
    }
    assert_eq!(text(&["--baseline", "/no/such/file"], &touch).code, Some(125));
    // Options that make no sense, and a command that is missing.
    assert_eq!(text(&["--no-such-option"], &touch).code, Some(125));
    assert_eq!(text(&["--min-age", "soon"], &touch).code, Some(125));
    assert_eq!(text(&["--write-baseline"], &touch).code, Some(125));
    assert_eq!(text(&["--not", "unit=shop.service"], &touch).code, Some(125));
    assert_eq!(text(&[], &[]).code, Some(125));
    assert!(!marker.exists());
}

#[test]
fn a_missing_capability_is_named() {
    let words = words(&["true"]);
    let mut without = command(&[], &words);
    without_capability(&mut without, Capability::CAP_BPF);
    let ran = Ran::of(&mut without);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("missing CAP_BPF"), "{ran:?}");
    let mut without = command(&[], &words);
    without.env("SUDO_UID", "65534").env("SUDO_GID", "65534").env("SUDO_USER", "nobody");
    without_capability(&mut without, Capability::CAP_SETUID);
    let ran = Ran::of(&mut without);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("cannot become the user who called sudo (--as-root"), "{ran:?}");
}

/// As in a container that is not given one; CAP_SYS_ADMIN includes it.
fn without_capability(command: &mut Command, capability: Capability) {
    #[expect(unsafe_code, reason = "it makes system calls")]
    // SAFETY: the test's threads hold no lock that these calls take.
    unsafe {
        command.pre_exec(move || {
            for one in [capability, Capability::CAP_SYS_ADMIN] {
                caps::drop(None, CapSet::Bounding, one).map_err(std::io::Error::other)?;
            }
            Ok(())
        });
    }
}

/// The ring has room for a dozen records, and sockleak, the command's parent, is stopped meanwhile.
#[test]
fn lost_events_are_never_clean() {
    let leak = plan(&["exit", "--count", "100"]).join(" ");
    let script = |code| format!("kill -STOP $PPID; {leak}; kill -CONT $PPID; exit {code}");
    let small = ["--ring-size", "4096"];
    let (ran, report) = run(&small, &words(&["sh", "-c", &script(0)]));
    assert_eq!((ran.code, report.complete), (Some(4), false), "{report:#?}");
    assert!(report.incomplete.iter().any(|one| one.reason == "events-lost"), "{report:#?}");
    // The command's own code counts more.
    let (ran, report) = run(&small, &words(&["sh", "-c", &script(9)]));
    assert_eq!((ran.code, report.complete), (Some(9), false), "{report:#?}");
    let ran = text(&small, &words(&["sh", "-c", &script(0)]));
    assert!(ran.stderr.contains("sockleak: incomplete: "), "{ran:?}");
    assert!(ran.stderr.contains("(a larger --ring-size loses fewer)"), "{ran:?}");
}

#[test]
fn a_full_table_is_never_clean() {
    let few = ["--table-size", "16"];
    let (_, report) = run(&few, &plan(&["exit", "--count", "100"]));
    assert_eq!((report.exit_code, report.complete), (4, false), "{report:#?}");
    assert!(report.incomplete.iter().any(|one| one.reason == "sockets-unnoted"), "{report:#?}");
    let script = "for i in $(seq 40); do sleep 1 & done; wait";
    let (_, report) = run(&few, &words(&["sh", "-c", script]));
    assert_eq!((report.exit_code, report.complete), (4, false), "{report:#?}");
    let reasons: Vec<_> = report.incomplete.iter().map(|one| &*one.reason).collect();
    assert!(reasons.contains(&"processes-unfollowed"), "{report:#?}");
}

#[test]
fn known_leaks_do_not_count() {
    for known in ["verdict=eof-unread", "comm=leaker", "uid=0,state=close-wait"] {
        let report = planted(&["--not", known], &["exit"]);
        assert_eq!((report.exit_code, report.leaked, report.known), (0, 0, 1), "{report:#?}");
    }
    let report = planted(&["--not", "verdict=reset"], &["exit"]);
    assert_eq!((report.exit_code, report.leaked, report.known), (1, 1, 0), "{report:#?}");
}

/// The goal of 100 ms is for `make bench`; here it is only that nothing waits for a timer.
#[test]
fn a_short_command_does_not_wait() {
    if slow_machine() {
        return;
    }
    let (_, report): (_, RunReport) = run(&[], &words(&["true"]));
    assert_eq!((report.exit_code, report.records), (0, 1), "{report:#?}");
}
