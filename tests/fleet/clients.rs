//! Clients that are slow, many, huge or broken: they cost bounded memory, and no report.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::{DEADLINE, Kind, Leaker, wait_until};
use crate::web::{Exporter, connect, sum};

/// More than an exporter takes with a hundred clients; ten thousand with a page each would take more.
const MOST_GROWTH_KIB: usize = 16 << 10;
const TIMESTAMP: &str = "sockleak_report_timestamp_seconds";

fn resident_kib(exporter: &Exporter) -> usize {
    memory_kib(exporter, "VmRSS:")
}

fn memory_kib(exporter: &Exporter, kind: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Ends an attack, also where a test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something to an exporter until it has made ten more reports, each of which is scraped.
fn meanwhile(exporter: &Exporter, mut attack: impl FnMut() + Send) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                attack();
            }
        });
        let _ended = Ended(&stop);
        let mut last = 0.0;
        for _ in 0..10 {
            let now = exporter.wait_for("a newer report", |now| now[TIMESTAMP] > last);
            last = now[TIMESTAMP];
        }
        stop.store(true, Ordering::Relaxed);
        attacker.join().unwrap();
    });
}

#[test]
fn ten_thousand_that_say_nothing() {
    const CLIENTS: usize = 10_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    exporter.wait_for("some reports", |now| now["sockleak_scans_total"] >= 1.0);
    let before = resident_kib(&exporter);
    let address: SocketAddr = exporter.address.parse().unwrap();
    let mut clients = Vec::with_capacity(CLIENTS);
    while clients.len() < CLIENTS {
        // The queue of a listener is bounded, too: who finds it full tries again.
        if let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
            clients.push(client);
        }
    }
    meanwhile(&exporter, || std::thread::sleep(Duration::from_millis(10)));
    let after = resident_kib(&exporter);
    assert!(after < before + MOST_GROWTH_KIB, "{before} KiB before, {after} KiB after");
    let fds = fs::read_dir(format!("/proc/{}/fd", exporter.process.pid())).unwrap().count();
    assert!(fds < 200, "{fds} descriptors");
}

/// A host that leaked much, and does no more, gets the memory back. (RssAnon leaves out the ring, which
/// is mapped now and then.)
#[test]
fn a_burst_of_leaks_takes_memory_for_as_long_as_it_lasts() {
    const LEAKS: u16 = 15_000;
    let mut leaker = Leaker::listening();
    let exporter = Exporter::start(&leaker, &[]);
    let memory = || memory_kib(&exporter, "RssAnon:");
    let leaked = |now: &BTreeMap<String, f64>| sum(now, "sockleak_leaked_sockets", "");
    exporter.wait_for("a scan", |now| now["sockleak_scans_total"] >= 2.0);
    let before = memory();
    leaker.plant(Kind::EofRead, LEAKS.into());
    exporter.wait_for("the burst", |now| leaked(now) == f64::from(LEAKS));
    let during = memory();
    // Each is more than 200 bytes.
    assert!(during > before + usize::from(LEAKS) / 5, "{before} KiB, then {during} KiB");
    leaker.close_all();
    exporter.wait_for("its end", |now| leaked(now) == 0.0);
    wait_until("memory is given back", || memory() < before.midpoint(during));
}

/// A byte now and then, of a header that never ends.
#[test]
fn many_that_are_slow() {
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let mut clients: Vec<_> = (0..40).map(|_| connect(&exporter.address)).collect();
    for client in &mut clients {
        client.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    }
    meanwhile(&exporter, || {
        for client in &mut clients {
            // Its time may be over.
            let _ = client.write_all(b"a");
        }
        std::thread::sleep(Duration::from_millis(20));
    });
    // Each has its time, and no more: then the server closes.
    let end = Instant::now() + DEADLINE;
    for mut client in clients {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        client.set_read_timeout(Some(left)).unwrap();
        if let Err(error) = client.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
}

/// A gigabyte of header: it is refused long before its end.
#[test]
fn one_with_a_huge_header() {
    const HUGE: usize = 1 << 30;
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let before = resident_kib(&exporter);
    for begin in ["GET /metrics HTTP/1.1\r\nX: ", "GET /", "", "GET / HTTP/1.1\r\n"] {
        let mut client = connect(&exporter.address);
        client.write_all(begin.as_bytes()).unwrap();
        let piece = [b'a'; 64 << 10];
        let mut sent = 0;
        while sent < HUGE && client.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        // As much as buffers of the kernel hold.
        assert!(sent < 64 << 20, "{begin:?}: {sent} bytes were taken");
    }
    let after = resident_kib(&exporter);
    assert!(after < before + MOST_GROWTH_KIB, "{before} KiB before, {after} KiB after");
    assert_eq!(exporter.get("/-/healthy").status, 200);
}

/// Clients that ask for everything and take nothing, or go at once.
#[test]
fn some_that_do_not_read() {
    let leaker = Leaker::start();
    let exporter = Exporter::start(&leaker, &[]);
    let address = exporter.address.clone();
    let mut kept = Vec::new();
    meanwhile(&exporter, || {
        for _ in 0..8 {
            let mut client = connect(&address);
            let _ = client.write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50));
            drop(connect(&address));
            if kept.len() < 200 {
                kept.push(client);
            }
        }
        // Faster, and there are no ports left for anybody.
        std::thread::sleep(Duration::from_millis(20));
    });
    assert_eq!(exporter.get("/-/healthy").status, 200);
}
