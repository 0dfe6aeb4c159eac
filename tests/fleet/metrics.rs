//! `--format prometheus`, as Prometheus's own tools read it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::tool::{Ran, list_text, sockleak};
use crate::common::{Kind, Leaker, list};
use crate::web::{samples, sum};

/// Has promtool and the parser of Prometheus's Python client read an exposition.
#[track_caller]
pub(crate) fn assert_accepted(text: &str) {
    let parse = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        print(sum(len(family.samples) for family in parse(sys.stdin.read())))";
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    let commands = [
        (vec!["promtool", "check", "metrics"], String::new()),
        (vec!["/usr/bin/python3", "-c", parse], format!("{lines}\n")),
    ];
    for (command, expected) in commands {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: see `make test`", command[0]));
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command:?}: {said}\n{text}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{command:?}\n{text}");
    }
}

fn metrics(leaker: &Leaker, options: &[&str]) -> Ran {
    list_text(leaker, &[&["--format", "prometheus"][..], options].concat())
}

#[test]
fn every_kind_of_leak_is_counted() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 3);
    leaker.plant(Kind::DataUnread(100), 2);
    leaker.plant(Kind::NeverAccepted, 4);
    let fd = leaker.unconnected();
    let ran = metrics(&leaker, &[]);
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""), "{ran:?}");
    assert_accepted(ran.text());
    let samples = samples(ran.text());
    for (verdict, count) in
        [("eof-read", 3.0), ("data-unread", 2.0), ("never-accepted", 4.0), ("reset", 0.0)]
    {
        let series = format!("sockleak_leaked_sockets{{verdict=\"{verdict}\"}}");
        assert_eq!(samples[&series], count, "{verdict}");
        let label = format!("verdict=\"{verdict}\"");
        assert_eq!(sum(&samples, "sockleak_process_leaked_sockets", &label), count, "{verdict}");
    }
    assert_eq!(samples[r#"sockleak_stranded_sockets{verdict="unconnected"}"#], 1.0);
    let of_leaker = r#"comm="leaker""#;
    assert_eq!(sum(&samples, "sockleak_listener_accept_queue_length", of_leaker), 4.0);
    assert!(sum(&samples, "sockleak_listener_accept_queue_limit", of_leaker) >= 4.0);
    let process = &list(&leaker, &[]).processes[0];
    let usage = process.open_fds.unwrap() as f64 / process.fd_limit.unwrap() as f64;
    let told = sum(&samples, "sockleak_process_fd_usage_ratio", of_leaker);
    assert!((usage - told).abs() < 1e-9, "{usage} {told}");
    assert!(samples["sockleak_scans_total"] >= 1.0);
    assert!(samples["sockleak_scan_cpu_seconds_total"] > 0.0);
    assert!(!ran.text().contains("sockleak_report_incomplete"), "it is complete");
    assert!(!ran.text().contains("exhaustion"), "one look proves no rate");
    let pid = leaker.pid.to_string();
    assert!(!ran.text().contains("127.0.0.1") && !ran.text().contains(&format!("\"{pid}\"")));
    leaker.close(fd);
}

#[test]
fn names_reach_nobody_unescaped() {
    for name in [&b"q\"u\\o\nt\re"[..], b"\xff\xfe}\xc3", b"\\", b"\"", b"a b{c=\"d\"} 1"] {
        let mut leaker = Leaker::start_named(name);
        leaker.listen("v4");
        leaker.plant(Kind::EofRead, 2);
        leaker.plant(Kind::NeverAccepted, 1);
        let ran = metrics(&leaker, &[]);
        assert_accepted(ran.text());
        assert_eq!(sum(&samples(ran.text()), "sockleak_process_leaked_sockets", ""), 3.0);
    }
}

#[test]
fn a_quiet_host_has_zeros() {
    let leaker = Leaker::start();
    let ran = metrics(&leaker, &["--min-age", "1m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_accepted(ran.text());
    let samples = samples(ran.text());
    assert_eq!(samples[r#"sockleak_leaked_sockets{verdict="eof-read"}"#], 0.0);
    assert!(!ran.text().contains("comm="), "no process has anything");
    assert_eq!(samples["sockleak_lost_events_total"], 0.0);
}

#[test]
fn others_have_no_metrics() {
    for subcommand in ["watch", "events", "doctor"] {
        let ran = sockleak(&[subcommand, "--format", "prometheus"]);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains("sockleak export"), "{ran:?}");
    }
}
