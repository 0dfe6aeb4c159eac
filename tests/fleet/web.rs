//! A running exporter, and as much of an HTTP client as tests need.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::common::lines::Running;
use crate::common::tool::binary;
use crate::common::{DEADLINE, Leaker, wait_until};

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) header: String,
    pub(crate) body: String,
}

/// Sends bytes, and reads until the other side closes.
pub(crate) fn talk(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Who is refused may see a reset after the answer.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (header, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = if header.contains("chunked") { unchunked(body) } else { body.to_owned() };
    let status = header.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap_or(0), header: header.to_ascii_lowercase(), body }
}

/// A body that came in chunks: each has its size on a line of its own.
fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole += &after[..size];
        rest = after[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    talk(
        connect(address),
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

/// The samples of an exposition: series and value.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let sample = |line: &&str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    let samples: BTreeMap<_, _> = lines.iter().map(sample).collect();
    assert_eq!(samples.len(), lines.len(), "a series occurs twice: {text}");
    samples
}

/// The sum of a metric's samples that have this label, or any.
pub(crate) fn sum(samples: &BTreeMap<String, f64>, metric: &str, label: &str) -> f64 {
    let is_of = |series: &str| {
        series.split_once('{').is_some_and(|(name, rest)| name == metric && rest.contains(label))
    };
    samples.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum()
}

/// A port of loopback that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running exporter.
pub(crate) struct Exporter {
    pub(crate) process: Running,
    pub(crate) address: String,
}

impl Exporter {
    /// Starts one for the workload's network namespace, with a report each 200 ms, and all leaks at once;
    /// waits for its first report.
    pub(crate) fn start(leaker: &Leaker, options: &[&str]) -> Self {
        Self::start_by(Command::new(binary()), leaker, options)
    }

    /// The same, started by a command that takes the tool's arguments.
    pub(crate) fn start_by(mut command: Command, leaker: &Leaker, options: &[&str]) -> Self {
        let netns = leaker.netns.to_string();
        command.args(["export", "--listen", "127.0.0.1:0", "--netns", &netns]);
        command.args(["--interval", "200ms"]).args(options);
        if !options.contains(&"--min-age") {
            command.args(["--min-age", "0s"]);
        }
        let process = Running::start(command.stdin(Stdio::null()));
        let mut exporter = Self { process, address: String::new() };
        wait_until("the exporter listens", || exporter.find_address());
        wait_until("the exporter is ready", || exporter.get("/-/ready").status == 200);
        exporter
    }

    fn find_address(&mut self) -> bool {
        let stderr = self.process.stderr();
        let address = stderr.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
        assert!(!stderr.contains("cannot"), "{stderr}");
        address.map(|(address, _)| address.clone_into(&mut self.address)).is_some()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(&self.address, path)
    }

    pub(crate) fn scrape(&self) -> BTreeMap<String, f64> {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        samples(&answer.body)
    }

    /// Scrapes until the samples satisfy the condition.
    #[track_caller]
    pub(crate) fn wait_for(
        &self,
        what: &str,
        holds: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> BTreeMap<String, f64> {
        let end = Instant::now() + DEADLINE;
        loop {
            let samples = self.scrape();
            if holds(&samples) {
                return samples;
            }
            assert!(Instant::now() < end, "{DEADLINE:?} without {what}; at last: {samples:#?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Stops it; its exit code, and what it logged.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        self.process.signal(signal);
        let code = self.process.end(DEADLINE).code();
        (code, self.process.stderr())
    }
}

/// Tells the other side that nothing more comes.
pub(crate) fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}
