//! The command line, as far as it needs no privilege: what is refused, and in which words.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod completions;

use common::sockleak;

/// Refused with exit code 2 and one line that names the flag.
#[track_caller]
fn refused(arguments: &[&str], names: &[&str]) {
    let ran = sockleak(arguments);
    assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
    assert!(ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {ran:?}");
    for name in names {
        assert!(ran.stderr.contains(name), "{arguments:?}: {name} is not in {ran:?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

#[test]
fn unknown_options_and_subcommands() {
    refused(&["--no-such-option"], &["--no-such-option"]);
    for subcommand in ["list", "watch", "events"] {
        refused(&[subcommand, "--no-such-option"], &["--no-such-option"]);
    }
    refused(&["leaks"], &["leaks"]);
    refused(&["lst"], &["'lst'", "did you mean 'list'?"]);
    refused(&["list", "eth0"], &["eth0"]);
}

#[test]
fn malformed_durations() {
    for bad in ["", "soon", "-5s", "5 parsecs", "1e9999s", "s", "18446744073709551615s"] {
        refused(&["list", &format!("--min-age={bad}")], &["--min-age"]);
        refused(&["watch", &format!("--interval={bad}")], &["--interval"]);
    }
    for short in ["0", "0s", "1ns"] {
        refused(&["watch", "--interval", short], &["--interval", "at least 1ms"]);
    }
    refused(&["list", "--min-age"], &["--min-age"]);
}

#[test]
fn malformed_addresses() {
    for flag in ["--local", "--remote"] {
        for bad in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "1.2.3.4:http",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/8:99999",
            "::1/129",
            "[::1",
            "[::1]:x",
            ":::1",
        ] {
            refused(&["list", flag, bad], &[flag]);
        }
    }
}

#[test]
fn malformed_states() {
    for bad in ["", "closewait", "close-wait,", "close-wait,bogus", "8", "fin-wait-3"] {
        refused(&["list", "--state", bad], &["--state"]);
    }
}

/// A power of two times the page size, which no machine has below 4 KiB.
#[test]
fn malformed_ring_sizes() {
    for bad in
        ["", "big", "0", "1", "4095", "5000", "12KiB", "3MiB", "-4KiB", "4XB", "1e30", "8EiB"]
    {
        refused(&["watch", &format!("--ring-size={bad}")], &["--ring-size"]);
    }
}

#[test]
fn malformed_numbers() {
    for bad in ["", "x", "-1", "0", "65536", "80.5"] {
        refused(&["list", &format!("--port={bad}")], &["--port"]);
    }
    for bad in ["", "x", "-1", "99999999999"] {
        refused(&["list", &format!("--pid={bad}")], &["--pid"]);
        refused(&["list", &format!("--uid={bad}")], &["--uid"]);
    }
    refused(&["list", "--comm", ""], &["--comm"]);
    for bad in ["", "x", "-1", "/no/such/namespace", "/dev/null", "/proc/self/ns/mnt"] {
        refused(&["list", &format!("--netns={bad}")], &["--netns"]);
    }
}

#[test]
fn unknown_words() {
    refused(&["list", "--sort", "beauty"], &["--sort"]);
    refused(&["list", "--group-by", "beauty"], &["--group-by"]);
    refused(&["list", "--format", "yaml"], &["--format"]);
    refused(&["--explain", "bad-luck"], &["--explain"]);
}

#[test]
fn an_interval_is_for_watch() {
    refused(&["list", "--interval", "1s"], &["--interval"]);
}

#[test]
fn a_refusal_tells_the_remedy() {
    for arguments in [
        &["list", "--min-age", "soon"][..],
        &["list", "--state", "closewait"],
        &["list", "--remote", "localhost"],
        &["watch", "--ring-size", "5000"],
        &["list", "--jsno"],
    ] {
        let ran = sockleak(arguments);
        // More words than what was given: an example, or the possible values.
        let helps = ["such as", "there are", "neither an IP address nor a CIDR block", "--json"];
        assert!(helps.iter().any(|word| ran.stderr.contains(word)), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("--help"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn help_names_every_subcommand_and_the_exit_codes_are_zero() {
    let ran = sockleak(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for subcommand in ["watch", "list", "events"] {
        assert!(ran.text().contains(subcommand), "{}", ran.text());
        let own = sockleak(&[subcommand, "--help"]);
        assert_eq!((own.code, own.stderr.as_str()), (Some(0), ""));
    }
    for flag in
        ["--state", "--min-age", "--pid", "--comm", "--local", "--remote", "--port", "--netns"]
    {
        assert!(sockleak(&["list", "--help"]).text().contains(flag), "{flag}");
    }
}

#[test]
fn options_that_say_nothing_to_the_form_of_output() {
    for option in [&["--rows", "3"][..], &["-o", "pid"], &["--summary"]] {
        for form in [&["--json"][..], &["--format", "json"]] {
            for subcommand in ["list", "watch"] {
                let wrong = [&[subcommand][..], form, option].concat();
                refused(&wrong, &["JSON", "leave it out"]);
            }
        }
    }
    refused(&["list", "--summary", "--format", "csv"], &["--summary", "CSV"]);
    refused(&["doctor", "--format", "csv"], &["csv", "text or json"]);
    refused(&["list", "-n", "3", "-a"], &["--rows", "--all"]);
    refused(&["list", "-o", "pid", "--group-by", "remote"], &["--columns", "--group-by"]);
    for bad in ["", "0", "-1", "x"] {
        refused(&["list", &format!("--rows={bad}")], &["--rows"]);
        refused(&["watch", &format!("--count={bad}")], &["--count"]);
    }
}

#[test]
fn columns_are_named_in_a_refusal() {
    refused(&["list", "-o", "beauty"], &["beauty", "possible values are age, ", "direction"]);
    refused(&["list", "-o", "+stat"], &["did you mean 'state'?"]);
    for mixed in ["pid,+unit", "pid,fd,+unit,+exe"] {
        refused(&["list", "-o", mixed], &["'+unit'", "--columns", "the first one a plus"]);
        refused(&["watch", "-o", mixed], &["'+unit'"]);
    }
    for bad in ["", "+", "pid,", "pid,+beauty"] {
        refused(&["list", "-o", bad], &["--columns"]);
    }
}

#[test]
fn an_output_is_a_file_of_list() {
    refused(&["watch", "-O", "file"], &["-O"]);
    for bad in ["/dev/null", "/", "/tmp", ""] {
        refused(&["list", "-O", bad], &["--output"]);
    }
}

#[test]
fn completions_are_for_shells_that_there_are() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = sockleak(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
    }
    refused(&["completions", "tcsh"], &["tcsh", "zsh"]);
    refused(&["completions"], &["<SHELL>"]);
}

#[test]
fn help_has_sections_and_examples() {
    for subcommand in ["watch", "list"] {
        let ran = sockleak(&[subcommand, "--help"]);
        let sections = ["What to show:", "Which sockets:", "How to show it:", "The kernel side:"];
        let places = sections.map(|section| ran.text().find(&format!("\n{section}\n")));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", ran.text());
        assert!(ran.text().contains("\nExamples:\n"), "{}", ran.text());
    }
    // All others are in a section.
    let options = sockleak(&["list", "-h"]);
    let (own, _) = options.text().split_once("What to show:").unwrap();
    assert_eq!(own.matches("\n  -").count(), 1, "{own}");
}

#[test]
fn version() {
    let ran = sockleak(&["--version"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.text().trim(), format!("sockleak {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_verdict_is_explained() {
    let mut paragraphs = std::collections::BTreeSet::new();
    for verdict in ["eof-read", "eof-unread", "data-unread", "never-accepted", "reset"] {
        for command in [&[][..], &["list"], &["watch"], &["events"], &["doctor"]] {
            let ran = sockleak(&[command, &["--explain", verdict]].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{verdict}");
            assert!(ran.text().contains(verdict), "{}", ran.text());
            assert!(ran.text().split_whitespace().count() > 20, "{}", ran.text());
            paragraphs.insert(ran.text().to_owned());
        }
    }
    assert_eq!(paragraphs.len(), 5, "one paragraph for each, the same everywhere");
}
