//! A command under `run` is started as if there were no sockleak.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::common::lines::Running;
use crate::common::run::command;
use crate::common::{DEADLINE, Ran, leaker};

/// A command's output, bare and under `run`.
#[track_caller]
fn same(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().unwrap();
    let bare = Ran::of(Command::new(program).args(arguments));
    let under = Ran::of(&mut command(&[], words));
    assert_eq!((bare.code, bare.text()), (under.code, under.text()), "{bare:?} {under:?}");
    bare.text().to_owned()
}

#[test]
fn it_inherits_no_descriptor() {
    let listed = same(&["sh", "-c", "ls /proc/self/fd"]);
    assert!(listed.lines().count() >= 3, "{listed}");
}

#[test]
fn it_inherits_no_setting() {
    let kept = [
        "Uid",
        "Gid",
        "Groups",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ];
    let binary = leaker::binary();
    let status = |ran: &Ran| -> Vec<String> {
        let is_kept = |line: &&str| line.split(':').next().is_some_and(|key| kept.contains(&key));
        let lines = ran.text().lines().filter(is_kept);
        // The C library has real-time signals of its own in programs with threads.
        let without_real_time = |line: &str| match line.strip_prefix("SigIgn:\t") {
            Some(mask) => format!("{:x}", u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff),
            None => line.to_owned(),
        };
        lines.map(without_real_time).collect()
    };
    let bare = Ran::of(Command::new(&binary).arg("status"));
    let under = Ran::of(&mut command(&[], &[binary.to_str().unwrap(), "status"]));
    assert_eq!(status(&bare), status(&under));
    assert!(status(&bare).len() > 8, "{bare:?}");
    same(&["sh", "-c", "ulimit -n; ulimit -l; cat /proc/self/limits"]);
    same(&["sh", "-c", "for one in mnt net pid; do readlink /proc/self/ns/$one; done"]);
    same(&["sh", "-c", "env | sort"]);
}

/// As nohup, a supervisor, or a script may have set them.
#[test]
fn it_inherits_what_the_caller_ignores() {
    for ignored in ["HUP", "PIPE", "INT", "USR1"] {
        let run = command(&[], &["grep", "SigIgn", "/proc/self/status"]);
        let under = |words: &mut Command, run: &Command| -> u64 {
            let script = format!("trap '' {ignored}; exec \"$@\"");
            let ran = Ran::of(
                words.args(["-c", &script, "sh"]).arg(run.get_program()).args(run.get_args()),
            );
            let mask = ran.text().split_whitespace().nth(1).unwrap_or_else(|| panic!("{ran:?}"));
            u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff
        };
        let mut bare = Command::new("grep");
        bare.args(["SigIgn", "/proc/self/status"]);
        let (bare, run) =
            (under(&mut Command::new("sh"), &bare), under(&mut Command::new("sh"), &run));
        assert_eq!(bare, run, "{ignored}");
        assert_ne!(bare, 0, "{ignored}");
    }
}

/// Who ignores SIGCHLD does not hear how its children end; sockleak has to.
#[test]
fn it_ends_well_where_the_caller_ignores_children() {
    let ignoring = |words: &[&str]| {
        let mut command = command(&[], words);
        #[expect(unsafe_code, reason = "it makes system calls")]
        // SAFETY: it allocates nothing.
        unsafe {
            command.pre_exec(|| {
                let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
                sigaction(Signal::SIGCHLD, &ignore)?;
                Ok(())
            });
        }
        Ran::of(&mut command)
    };
    assert_eq!(ignoring(&["sh", "-c", "exit 7"]).code, Some(7));
    let ran = ignoring(&["grep", "SigIgn", "/proc/self/status"]);
    let mask = u64::from_str_radix(ran.text().split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_ne!(mask & 1 << (Signal::SIGCHLD as u32 - 1), 0, "{ran:?}");
}

#[test]
fn it_finds_closed_what_the_caller_has_closed() {
    for fd in ["0", "2"] {
        let open = format!("if [ -e /proc/$$/fd/{fd} ]; then echo open; else echo closed; fi");
        let run = command(&[], &["sh", "-c", &open]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("\"$@\" {fd}>&-"), "sh"]);
        let ran = Ran::of(shell.arg(run.get_program()).args(run.get_args()));
        assert_eq!((ran.code, ran.text()), (Some(0), "closed\n"), "{fd}: {ran:?}");
    }
}

/// As the first process of a container, sockleak inherits orphans: they do not stay as zombies.
#[test]
fn orphans_do_not_stay() {
    let script = "orphan=$(sh -c 'sleep 0.1 >/dev/null & echo $!'); \
                  while [ -e /proc/$orphan ]; do sleep 0.02; done; exit 5";
    let run = command(&[], &["timeout", "100", "sh", "-c", script]);
    let mut first = Command::new("unshare");
    first.args(["--pid", "--fork", "--mount-proc"]);
    let ran = Ran::of(first.arg(run.get_program()).args(run.get_args()));
    assert_eq!(ran.code, Some(5), "{ran:?}");
}

#[test]
fn its_streams_are_its_own() {
    let script = "read line; echo got $line; echo complaint >&2";
    let mut run = Running::start(command(&[], &["sh", "-c", script]).stdin(Stdio::piped()));
    std::io::Write::write_all(run.stdin(), b"hello\n").unwrap();
    assert_eq!(run.line(DEADLINE).as_deref(), Some(&b"got hello"[..]));
    assert_eq!(run.end(DEADLINE).code(), Some(0));
    assert_eq!(run.stderr(), "complaint\n");
}

#[test]
fn it_stays_in_the_callers_process_group() {
    let group = Ran::of(&mut command(&[], &["sh", "-c", "cut -d' ' -f5 /proc/self/stat"]));
    let own = nix::unistd::getpgrp().to_string();
    assert_eq!(group.text().trim(), own, "{group:?}");
}

#[test]
fn under_sudo_it_is_the_callers() {
    let binary = leaker::binary();
    let words = [binary.to_str().unwrap(), "status"];
    let ids = |ran: &Ran| -> Vec<String> {
        let is_id = |line: &&str| ["Uid", "Gid"].iter().any(|key| line.starts_with(key));
        let lines = ran.text().lines().filter(is_id);
        lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    let sudo = |command: &mut Command| {
        command.env("SUDO_UID", "65534").env("SUDO_GID", "65534").env("SUDO_USER", "nobody");
        Ran::of(command)
    };
    let ran = sudo(&mut command(&[], &words));
    assert_eq!(ids(&ran), ["65534", "65534"], "{ran:?}");
    for set in ["CapPrm", "CapEff"] {
        let line = ran.text().lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{ran:?}");
    }
    let ran = sudo(&mut command(&[], &["env"]));
    let has = |ran: &Ran, variable: &str| ran.text().lines().any(|line| line == variable);
    assert!(has(&ran, "USER=nobody") && has(&ran, "LOGNAME=nobody"), "{ran:?}");
    let ran = sudo(&mut command(&["--as-root"], &words));
    assert_eq!(ids(&ran), ["0", "0"], "{ran:?}");
    // A leak of the user's is found, and the report is a file of the user's.
    let folder = std::env::temp_dir().join(format!("sockleak-sudo-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    nix::unistd::chown(&folder, Some(65534.into()), Some(65534.into())).unwrap();
    let file = folder.join("report");
    let options = ["-O", file.to_str().unwrap()];
    let leaking = [binary.to_str().unwrap(), "plan", "exit", "--here"];
    let ran = sudo(&mut command(&options, &leaking));
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file).unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((ran.code, owner), (Some(1), 65534), "{ran:?} {text}");
    assert!(text.contains("1 leaked"), "{text}");
}

/// Signals that a process has sent to sockleak reach the command, once each.
#[test]
fn signals_are_passed_on() {
    let script = "trap 'echo usr' USR1; trap 'echo term; exit 5' TERM; echo ready; \
                  while :; do sleep 0.01; done";
    let mut run = Running::start(command(&[], &["sh", "-c", script]).stdin(Stdio::null()));
    assert_eq!(run.line(DEADLINE).as_deref(), Some(&b"ready"[..]));
    run.signal(Signal::SIGUSR1);
    assert_eq!(run.line(DEADLINE).as_deref(), Some(&b"usr"[..]));
    run.signal(Signal::SIGTERM);
    assert_eq!(run.line(DEADLINE).as_deref(), Some(&b"term"[..]));
    assert_eq!(run.line(DEADLINE), None);
    assert_eq!(run.end(DEADLINE).code(), Some(5));
}
