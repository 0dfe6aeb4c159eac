//! `sockleak export`: what it serves, to whom, and with which rights.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::common::lines::Running;
use crate::common::tool::{Ran, binary};
use crate::common::{DEADLINE, Kind, Leaker, wait_until};
use crate::metrics::assert_accepted;
use crate::web::{Exporter, connect, half_close, samples, sum, talk};

const PROCESS: &str = "sockleak_process_leaked_sockets";
const LEAKED: &str = "sockleak_leaked_sockets";

#[test]
fn it_tells_when_a_leak_begins_and_ends() {
    let mut leaker = Leaker::listening();
    let exporter = Exporter::start(&leaker, &[]);
    let before = exporter.scrape();
    assert_eq!(sum(&before, LEAKED, ""), 0.0);
    leaker.plant(Kind::EofRead, 5);
    let during = exporter.wait_for("five leaks", |now| sum(now, PROCESS, "leaker") == 5.0);
    assert_eq!(sum(&during, LEAKED, ""), 5.0);
    assert_accepted(&exporter.get("/metrics").body);
    let (scans, time) = ("sockleak_scans_total", "sockleak_report_timestamp_seconds");
    let later = exporter.wait_for("another scan", |now| now[scans] > during[scans]);
    assert!(later[time] > during[time]);
    leaker.close_all();
    exporter.wait_for("the end", |now| sum(now, LEAKED, "") == 0.0);
    let pid = leaker.pid;
    wait_until("the end is logged", || exporter.process.stderr().contains("leaks no more"));
    let (code, log) = exporter.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0));
    assert!(log.contains(&format!("sockleak: leaker[{pid}] leaks ")), "{log}");
    assert!(log.contains(&format!("sockleak: leaker[{pid}] leaks no more, after ")), "{log}");
    assert_eq!(log.lines().count(), 3, "serves, begins, ends: {log}");
}

#[test]
fn young_leaks_do_not_count() {
    let mut leaker = Leaker::listening();
    let exporter = Exporter::start(&leaker, &["--min-age", "1h"]);
    leaker.leak();
    let first = exporter.scrape()["sockleak_scans_total"];
    let later = exporter.wait_for("a scan", |now| now["sockleak_scans_total"] > first + 1.0);
    assert_eq!(sum(&later, LEAKED, ""), 0.0);
    for subcommand in ["export", "check"] {
        let help = Ran::of(Command::new(binary()).args([subcommand, "-h"]));
        let line = help.text().lines().find(|line| line.contains("--min-age")).unwrap().to_owned();
        let at = help.text().find(&line).unwrap();
        assert!(
            help.text()[at..].split_once("[default: ").unwrap().1.starts_with("1m]"),
            "{help:?}"
        );
    }
}

#[test]
fn a_forecast_is_made_of_several_reports() {
    let mut leaker = Leaker::listening();
    let exporter = Exporter::start(&leaker, &[]);
    let forecast = "sockleak_process_fd_exhaustion_seconds";
    leaker.leak();
    let first = exporter.wait_for("a leak", |now| sum(now, PROCESS, "") == 1.0);
    assert_eq!(sum(&first, forecast, ""), 0.0, "absent");
    wait_until("a growing leak has a forecast", || {
        leaker.leak();
        sum(&exporter.scrape(), forecast, "leaker") > 0.0
    });
}

#[test]
fn its_pages() {
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let metrics = exporter.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.header.contains(&format!("content-length: {}", metrics.body.len())));
    assert_eq!(exporter.get("/metrics?name=x").status, 200);
    assert_eq!((exporter.get("/-/healthy").status, exporter.get("/-/ready").status), (200, 200));
    let index = exporter.get("/");
    assert!(index.body.contains("href=\"/metrics\"") && index.header.contains("text/html"));
    assert_eq!(exporter.get("/nothing").status, 404);
    let ask = |request: &str| talk(connect(&exporter.address), request);
    let head = ask("HEAD /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(head.header.contains("content-length: "));
    let post = ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(post.status, 405);
    assert!(post.header.contains("allow: get, head"));
    assert_eq!(ask("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n").status, 405);
    assert_eq!(ask("nonsense\r\n\r\n").status, 400);
    let stream = connect(&exporter.address);
    half_close(&stream);
    assert_eq!(talk_nothing(stream), 0);
}

/// How many bytes come from a connection whose client says nothing.
fn talk_nothing(mut stream: std::net::TcpStream) -> usize {
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap()
}

#[test]
fn no_thread_of_it_keeps_a_capability() {
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let tasks = format!("/proc/{}/task", exporter.process.pid());
    let mut names = BTreeSet::new();
    for task in fs::read_dir(tasks).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        let status = fs::read_to_string(task.join("status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            let none = line.ends_with("\t0000000000000000");
            // Before Linux 5.19 the others need CAP_BPF.
            assert!(none || name != "http\n", "{name}: {line}");
        }
        names.insert(name);
    }
    assert!(names.contains("http\n"), "{names:?}");
}

#[test]
fn it_serves_a_unix_socket() {
    let leaker = Leaker::start();
    let folder = std::env::temp_dir().join(format!("sockleak-unix-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("sockleak.sock");
    let start = || {
        let mut command = Command::new(binary());
        command.args(["export", "--interval", "200ms", "--netns", &leaker.netns.to_string()]);
        command.arg("--listen").arg(format!("unix:{}", path.display()));
        Running::start(command.stdin(Stdio::null()))
    };
    let scrape = || {
        let stream = UnixStream::connect(&path).ok()?;
        Some(talk(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).filter(|a| a.status == 200)
    };
    let mut killed = start();
    wait_until("the first one serves", || scrape().is_some());
    killed.signal(Signal::SIGKILL);
    killed.end(DEADLINE);
    assert!(path.exists(), "it could not clear up");
    let mut next = start();
    wait_until("the next one serves", || scrape().is_some());
    assert!(samples(&scrape().unwrap().body).contains_key("sockleak_series_dropped"));
    next.signal(Signal::SIGTERM);
    assert_eq!(next.end(DEADLINE).code(), Some(0));
    assert!(!path.exists(), "it clears up");
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let ran = Ran::of(Command::new(binary()).args(["export", "--listen", &exporter.address]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for word in [&*exporter.address, "--listen", "in use"] {
        assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
    }
    let ran = Ran::of(Command::new(binary()).args(["export", "--listen", "unix:/no/such/folder"]));
    assert_eq!((ran.code, ran.stderr.contains("another exporter")), (Some(3), false), "{ran:?}");
    let ran = Ran::of(Command::new(binary()).args(["export", "--listen", "localhost:9736"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
