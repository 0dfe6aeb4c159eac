//! A process calls itself what it likes. That must not reach a terminal as it is.

use crate::common::tool::{list_text, sockleak};
use crate::common::{Leaker, Want, assert_rows, list};

/// Characters that are not controls, and yet change what is seen, or are not seen.
const TRICKS: [char; 12] = [
    '\u{202e}',
    '\u{2066}',
    '\u{200b}',
    '\u{200d}',
    '\u{feff}',
    '\u{ad}',
    '\u{3164}',
    '\u{115f}',
    '\u{ffa0}',
    '\u{2800}',
    '\u{fe0f}',
    '\u{e0041}',
];

fn is_harmless(byte: u8) -> bool {
    byte == b'\n' || (b' '..0x7f).contains(&byte) || byte >= 0x80
}

fn shown(name: &[u8]) -> (String, String) {
    let mut leaker = Leaker::start_named(name);
    leaker.listen("v4");
    let leak = leaker.leak();

    let text = list_text(&leaker, &[]);
    assert_eq!((text.code, text.stderr.as_str()), (Some(1), ""));
    let harmful: Vec<_> = text.stdout.iter().filter(|byte| !is_harmless(**byte)).collect();
    assert!(harmful.is_empty(), "{harmful:?} in {text:?}");
    let printed = text.text().to_owned();
    // C1 controls are two bytes in UTF-8, and some terminals obey them.
    assert!(!printed.chars().any(|c| c.is_control() && c != '\n'), "{printed:?}");
    let rows: Vec<_> = printed.lines().filter(|line| line.contains(&leak.remote)).collect();
    assert_eq!(rows.len(), 1, "{printed:?}");

    // JSON would have controls as escapes: see `comm` below.
    let json = list_text(&leaker, &["--json"]);
    for text in [&printed, json.text()] {
        assert!(!text.contains(TRICKS), "{text:?}");
    }

    let report = list(&leaker, &[]);
    assert_rows(&report, [Want::held(&leaker, &leak)]);
    assert_eq!(report.processes[0].comm.as_ref(), report.only_row().comm.as_ref());
    let comm = report.processes[0].comm.clone().unwrap();
    assert!(!comm.chars().any(char::is_control), "{comm:?}");
    (rows[0].to_owned(), comm)
}

#[test]
fn escape_sequences() {
    let (row, comm) = shown(b"\x1b[31mred\x1b[0m\x07");
    assert!(row.contains("red"), "{row:?}");
    assert!(comm.contains("red"), "{comm:?}");
}

#[test]
fn line_breaks_and_tabs() {
    let (row, _) = shown(b"two\nlines\tand");
    assert!(row.contains("two") && row.contains("lines"), "{row:?}");
}

#[test]
fn invalid_utf8() {
    let (row, comm) = shown(b"bad\xff\xfeutf8\xc3");
    assert!(row.contains("bad") && row.contains("utf8"), "{row:?}");
    assert!(comm.contains("bad") && comm.contains("utf8"), "{comm:?}");
}

#[test]
fn eight_bit_controls_and_directions() {
    // U+009B is an 8-bit CSI, U+202E turns the direction of what follows.
    let (row, _) = shown("a\u{9b}2J\u{202e}b".as_bytes());
    assert!(!row.contains('\u{202e}'), "{row:?}");
}

#[test]
fn what_cannot_be_seen() {
    // A name has room for 15 bytes: three or four at a time.
    for tricks in TRICKS.chunks(3) {
        let name: String = ['a'].iter().chain(tricks).chain(&['b']).collect();
        let (_, comm) = shown(name.as_bytes());
        assert_eq!(comm, format!("a{}b", "\u{fffd}".repeat(tricks.len())), "{name:?}");
    }
}

#[test]
fn quotes_and_backslashes() {
    let (_, comm) = shown(br#"a"b\c','d"#);
    assert_eq!(comm, r#"a"b\c','d"#);
}

#[test]
fn an_ordinary_name_in_another_script() {
    let (row, comm) = shown("größe".as_bytes());
    assert_eq!(comm, "größe");
    assert!(row.contains("größe"), "{row:?}");
}

#[test]
fn an_empty_name() {
    let (_, comm) = shown(b"");
    assert_eq!(comm, "");
}

/// Nothing but control characters, as many as a name can have: harmless must not mean endless.
#[test]
fn a_name_that_only_wants_to_harm() {
    let (row, _) = shown(&[0x1b; 15]);
    assert!(row.chars().count() < 100, "{} columns: {row}", row.chars().count());
}

/// A script may pass on as an option what a process calls itself.
#[test]
fn values_of_options() {
    for (option, value, code) in [
        ("--comm", "a\u{1b}[2Jb\u{9b}c", 2),
        ("--unit", "a\u{1b}[2Jb\u{202e}c", 2),
        ("--output", "/no-such-folder/a\u{1b}[2Jb\nc", 2),
        ("--btf", "/no-such-folder/a\u{1b}[2Jb", 3),
    ] {
        let ran = sockleak(&["list", option, value]);
        assert_eq!((ran.code, ran.text()), (Some(code), ""), "{ran:?}");
        let said = ran.stderr.trim_end_matches('\n');
        assert!(said.contains("[2Jb"), "{said:?}");
        let acts = |c: char| c.is_control() && c != '\n' || TRICKS.contains(&c);
        assert!(!said.contains(acts), "{said:?}");
    }
}
