//! What people read.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::pty::openpty;

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary, list_text, sockleak};
use crate::common::{DEADLINE, Kind, Leaker, not_possible};

#[test]
fn one_line_for_each_leak_and_a_summary() {
    let mut leaker = Leaker::listening();
    leaker.limit(1024);
    let leaks = leaker.plant(Kind::EofRead, 4);
    let ran = list_text(&leaker, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let text = ran.text();
    assert!(text.lines().all(|line| line.chars().count() < 100), "{text}");
    for leak in &leaks {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(&leak.remote)).collect();
        let [line] = lines[..] else { panic!("{} in {text}", leak.remote) };
        for part in [&leak.local, "eof-read", "leaker", &leaker.pid.to_string()] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    let open = leaker.open_descriptors().len();
    let summary = format!("leaker[{}]: 4 leaked, {open} of 1024 descriptors open", leaker.pid);
    assert!(text.lines().any(|line| line.starts_with(&summary)), "{summary} in {text}");
    assert!(!text.contains('\x1b'), "no colours in a pipe: {text:?}");
}

#[test]
fn columns_are_aligned_under_their_headers() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2);
    leaker.plant(Kind::DataUnread(12_345), 12);
    let ran = list_text(&leaker, &[]);
    let mut lines = ran.text().lines();
    let header = lines.next().unwrap();
    let rows: Vec<_> = lines.take_while(|line| line.contains("127.0.0.1:")).collect();
    assert_eq!(rows.len(), 14, "{}", ran.text());
    let column = rows[0].find("127.0.0.1:").unwrap();
    assert!(rows.iter().all(|row| row.find("127.0.0.1:") == Some(column)), "{}", ran.text());
    assert!(header.len() > column && !header[column..].starts_with(' '), "{}", ran.text());
    assert!(!header.contains("127.0.0.1"));

    let bare = list_text(&leaker, &["--no-headers"]);
    assert!(!bare.text().contains(header.trim()), "{}", bare.text());
    assert_eq!(bare.text().lines().filter(|line| line.contains("127.0.0.1:")).count(), 14);
}

#[test]
fn nothing_at_all_while_nothing_is_leaked() {
    let leaker = Leaker::listening();
    for options in [&[][..], &["--summary"], &["--group-by", "process"]] {
        let ran = list_text(&leaker, options);
        assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (Some(0), "", ""), "{options:?}");
    }
}

#[test]
fn watch_is_silent_until_there_is_a_leak() {
    let mut leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let mut command = Command::new(binary());
    command.args(["watch", "--interval", INTERVAL, "--netns", &netns]).stdin(Stdio::null());
    let mut watch = Running::start(&mut command);
    // A JSON twin tells when some intervals are over.
    let mut twin = crate::common::Watch::start(&leaker, &[]);
    for _ in 0..5 {
        assert!(twin.next().sockets.is_empty());
    }
    assert_eq!(watch.line_at_once(), None);
    let leak = leaker.leak();
    let mut read = Vec::new();
    while !read.iter().any(|line: &String| line.contains(&leak.remote)) {
        read.push(String::from_utf8(watch.line(DEADLINE).unwrap()).unwrap());
    }
    assert!(read.len() <= 3, "a header and a row: {read:#?}");
}

#[test]
fn a_queue_is_told_with_its_fill() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4 128");
    leaker.plant(Kind::NeverAccepted, 3);
    let ran = list_text(&leaker, &[]);
    let line = ran.text().lines().find(|line| line.contains("3/128"));
    assert!(line.is_some_and(|line| line.contains(&listener.local)), "{}", ran.text());
}

#[test]
fn unusual_rows_fit_as_well() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    leaker.listen("v6");
    let v6 = leaker.leak();
    let text = list_text(&leaker, &[]);
    for remote in [&leak.remote, &v6.remote] {
        assert!(text.text().contains(remote.as_str()), "{}", text.text());
    }
}

/// The widest that loopback can do: long names, long addresses, data, and two network namespaces.
#[test]
fn no_line_has_a_hundred_columns() {
    // Fifteen letters, and nobody else's.
    let name = format!("wide-{:010}", std::process::id());
    let mut leakers = [(), ()].map(|()| Leaker::start_named(name.as_bytes()));
    for leaker in &mut leakers {
        leaker.listen("v4");
        let leak = leaker.plant(Kind::DataUnread(50_000), 2).remove(0);
        leaker.dup(leak.fd());
        leaker.listen("v4");
        leaker.plant(Kind::NeverAccepted, 1);
    }
    let ran = sockleak(&["list", "--comm", &name]);
    assert_eq!(ran.text().lines().filter(|line| line.contains(" 127.0.0.1:")).count(), 8);
    let widest = ran.text().lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() < 100, "{} columns: {widest}", widest.chars().count());
}

/// What the tool prints to a terminal; None where there are no pseudo-terminals.
fn on_a_terminal(leaker: &Leaker, no_color: bool) -> Option<String> {
    let pty = match openpty(None, None) {
        Ok(pty) => pty,
        Err(Errno::ENOENT | Errno::ENODEV) => return None,
        Err(error) => panic!("openpty: {error}"),
    };
    let mut command = Command::new(binary());
    command.args(["list", "--netns", &leaker.netns.to_string()]);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let mut child = command.stdin(Stdio::null()).stdout(pty.slave).spawn().unwrap();
    // The command keeps the terminal's other end open; without it the reader sees the end.
    drop(command);
    let mut shown = Vec::new();
    // A terminal whose last user has left gives an error instead of an end of file.
    let _ = File::from(pty.master).read_to_end(&mut shown);
    child.wait().unwrap();
    Some(String::from_utf8(shown).unwrap())
}

#[test]
fn colours_only_on_a_terminal_and_not_against_the_users_wish() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let (Some(coloured), Some(plain)) =
        (on_a_terminal(&leaker, false), on_a_terminal(&leaker, true))
    else {
        return not_possible("text::colours", "no pseudo-terminals");
    };
    assert!(coloured.contains(&leak.remote), "{coloured:?}");
    assert!(coloured.contains('\x1b'), "{coloured:?}");
    assert!(plain.contains(&leak.remote), "{plain:?}");
    assert!(!plain.contains('\x1b'), "{plain:?}");
}
