//! The exit code is the answer's, whoever reads stdout and stderr.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::capabilities::with_only;
use crate::common::tool::{INTERVAL, binary};
use crate::common::{Kind, Leaker, wait_until};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader has gone.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

fn code_of(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_until("the tool ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

/// The exit code where stderr takes nothing, in each way.
fn codes(arguments: &[&str]) -> Vec<Option<i32>> {
    let closed = r#"exec "$0" "$@" 2>&-"#;
    let mut commands = [Command::new(binary()), Command::new(binary()), Command::new("sh")];
    commands[0].stderr(full());
    commands[1].stderr(unread());
    commands[2].args(["-c", closed]).arg(binary());
    let run = |command: &mut Command| {
        let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        code_of(&mut command.spawn().unwrap())
    };
    commands.iter_mut().map(run).collect()
}

#[test]
fn stderr_that_takes_nothing_changes_no_code() {
    let mut leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let list = ["list", "--netns", &netns];
    assert_eq!(codes(&list), [Some(0); 3]);
    leaker.leak();
    assert_eq!(codes(&list), [Some(1); 3]);
    assert_eq!(codes(&["list", "--no-such-option"]), [Some(2); 3]);
    assert_eq!(with_only(&[], || codes(&list)), [Some(3); 3]);
}

#[test]
fn an_incomplete_answer_is_one_without_stderr_too() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    // The leak in flight may be this process's.
    let codes = codes(&["list", "--pid", &leaker.pid.to_string()]);
    assert_eq!(codes, [Some(4); 3]);
}

/// The code of a tool of whose output one line is read, as `| head -1` does.
fn code_after_one_line(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "{line:?}");
    drop(reader);
    let code = code_of(&mut child);
    (code, std::io::read_to_string(child.stderr.take().unwrap()).unwrap())
}

#[test]
fn list_whose_reader_has_gone_ends_with_what_it_knows() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2000);
    let netns = leaker.netns.to_string();
    for more in [&[][..], &["--json"]] {
        let arguments = [&["list", "--netns", &netns], more].concat();
        assert_eq!(code_after_one_line(&arguments), (Some(1), String::new()), "{more:?}");
    }
}

#[test]
fn watch_whose_reader_has_gone_ends_with_success() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2000);
    let netns = leaker.netns.to_string();
    for more in [&[][..], &["--json"]] {
        let arguments = [&["watch", "--interval", INTERVAL, "--netns", &netns], more].concat();
        assert_eq!(code_after_one_line(&arguments), (Some(0), String::new()), "{more:?}");
    }
}

#[test]
fn events_and_explanations_whose_reader_has_gone_end_with_success() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        let child = command.args(arguments).stdout(unread()).stderr(Stdio::piped());
        let mut child = child.stdin(Stdio::null()).spawn().unwrap();
        let code = code_of(&mut child);
        (code, std::io::read_to_string(child.stderr.take().unwrap()).unwrap())
    };
    for arguments in [&["--explain", "reset"][..], &["--help"], &["events"]] {
        assert_eq!(run(arguments), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let mut leaker = Leaker::listening();
    leaker.leak();
    let netns = leaker.netns.to_string();
    for subcommand in ["list", "watch"] {
        let mut command = Command::new(binary());
        command.args([subcommand, "--json", "--netns", &netns]).stdin(Stdio::null()).stdout(full());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(code_of(&mut child), Some(3), "{subcommand}");
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(said.starts_with("sockleak: cannot write to stdout: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
