//! `sockleak check`: the line and the exit code of a monitoring plugin.

use crate::common::tool::{Ran, sockleak};
use crate::common::{Kind, Leaker};

fn check(leaker: &Leaker, options: &[&str]) -> Ran {
    let netns = leaker.netns.to_string();
    let ran = sockleak(&[&["check", "--netns", &netns, "--min-age", "0s"], options].concat());
    assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
    ran
}

#[test]
fn thresholds_decide() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 3);
    leaker.plant(Kind::NeverAccepted, 1);
    for (options, code, word) in [
        (&["-w", "4", "-c", "9"][..], 0, "OK"),
        (&["-w", "3", "-c", "4"], 1, "WARNING"),
        (&["-w", "1", "-c", "3"], 2, "CRITICAL"),
        (&["--warning", "0", "--critical", "0"], 2, "CRITICAL"),
        (&[], 0, "OK"),
    ] {
        let ran = check(&leaker, options);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let pid = leaker.pid;
        let begin = format!("SOCKLEAK {word} - 4 leaked sockets: 4 in leaker[{pid}] | leaked=4;");
        assert!(ran.text().starts_with(&begin), "{ran:?}");
        assert!(
            ran.text().contains(" eof-read=3;;;0 ") && ran.text().contains(" never-accepted=1;")
        );
    }
    assert_eq!(check(&leaker, &["-w", "1", "--not", "verdict=eof-read"]).code, Some(0));
}

#[test]
fn a_leak_that_takes_the_last_descriptors_is_a_warning() {
    let mut leaker = Leaker::listening();
    let quiet = check(&leaker, &["--warn-exhaustion", "4h"]);
    assert_eq!((quiet.code, quiet.text().contains("exhaustion")), (Some(0), false), "{quiet:?}");
    // Leaks of different ages, by far too fast.
    for _ in 0..20 {
        leaker.plant(Kind::EofRead, 1);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ran = check(&leaker, &["--warn-exhaustion", "4h"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.text().contains("is out of descriptors in"), "{ran:?}");
    assert!(ran.text().contains(" exhaustion=") && ran.text().contains("s;14400:;;0"), "{ran:?}");
    assert_eq!(check(&leaker, &[]).code, Some(0), "nobody asked for it");
}

/// A usage error is no CRITICAL, and monitoring reads stdout only.
#[test]
fn whatever_prevents_an_answer_is_unknown() {
    for (arguments, word) in [
        (&["check", "-w", "10:20"][..], "'10:20' for '--warning <SOCKETS>': give a number"),
        (&["check", "-c", "-1"], "'-1' for '--critical <SOCKETS>': give a number"),
        (&["check", "--no-such-option"], "--no-such-option"),
        (&["check", "-w", "5", "-c", "4"], "--critical"),
        (&["check", "--pid", "2147483647"], "--pid"),
        (&["check", "--comm", "no-such-program"], "--comm"),
        (&["check", "--btf", "/no/such/file"], "--btf"),
    ] {
        let ran = sockleak(arguments);
        assert_eq!((ran.code, &*ran.stderr), (Some(3), ""), "{ran:?}");
        assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
        assert!(ran.text().starts_with("SOCKLEAK UNKNOWN - "), "{ran:?}");
        assert!(ran.text().contains(word), "{ran:?}");
    }
}

/// A leak in flight between two processes may be that of the process in question.
#[test]
fn an_answer_that_is_not_whole_is_unknown() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    let ran = check(&leaker, &["--pid", &leaker.pid.to_string()]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.text().starts_with("SOCKLEAK UNKNOWN - nothing leaked; incomplete: "), "{ran:?}");
}
