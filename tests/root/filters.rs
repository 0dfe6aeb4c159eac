//! Options that narrow a report down, and its order.

use crate::common::tool::sockleak;
use crate::common::{Kind, Leaker, Want, assert_rows, list, wait_until};

const NONE: [usize; 0] = [];

#[test]
fn by_address_port_and_holder() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    // The clients come from 127.100.100.101, .102 and .103.
    let leaks = leaker.plant(Kind::EofRead, 3);
    let (pid, uid) = (leaker.pid.to_string(), leaker.uid().to_string());
    let other_pid = std::process::id().to_string();
    let remote_port = leaks[1].remote.rsplit_once(':').unwrap().1;
    let seen = |options: &[&str]| -> Vec<usize> {
        let report = list(&leaker, options);
        let place = |row: &crate::common::Row| {
            leaks.iter().position(|leak| leak.remote == row.remote).unwrap()
        };
        let mut places: Vec<_> = report.sockets.iter().map(place).collect();
        places.sort_unstable();
        places
    };
    assert_eq!(seen(&["--local", "127.0.0.1"]), [0, 1, 2]);
    assert_eq!(seen(&["--local", &listener.local]), [0, 1, 2]);
    assert_eq!(seen(&["--local", "127.0.0.3"]), NONE);
    assert_eq!(seen(&["--remote", "127.100.100.102"]), [1]);
    assert_eq!(seen(&["--remote", &leaks[2].remote]), [2]);
    assert_eq!(seen(&["--remote", "127.100.100.102/31"]), [1, 2]);
    assert_eq!(seen(&["--remote", "127.0.0.0/8"]), [0, 1, 2]);
    assert_eq!(seen(&["--remote", "::1"]), NONE);
    assert_eq!(seen(&["--remote", "::ffff:127.100.100.102/127"]), [1, 2]);
    assert_eq!(seen(&["--port", listener.port()]), [0, 1, 2]);
    assert_eq!(seen(&["--port", "1"]), NONE);
    assert!(seen(&["--port", remote_port]).contains(&1));
    assert_eq!(seen(&["--pid", &pid]), [0, 1, 2]);
    assert_eq!(seen(&["--pid", &other_pid]), NONE);
    assert_eq!(seen(&["--comm", "leaker"]), [0, 1, 2]);
    assert_eq!(seen(&["--comm", "leaker,leaker"]), [0, 1, 2]);
    assert_eq!(seen(&["--uid", &uid]), [0, 1, 2]);
    assert_eq!(seen(&["--uid", "54321"]), NONE);
    assert_eq!(seen(&["--pid", &pid, "--remote", "127.100.100.103"]), [2]);
}

#[test]
fn by_age() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    assert_rows(&list(&leaker, &["--min-age", "1h"]), []);
    wait_until("the leak is old enough", || {
        !list(&leaker, &["--min-age", "200ms"]).sockets.is_empty()
    });
    let wants = [Want::held(&leaker, &leak)];
    assert_rows(&list(&leaker, &["--min-age", "200ms"]), wants);
}

#[test]
fn by_network_namespace_as_number_and_as_path() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let path = format!("/proc/{}/ns/net", leaker.pid);
    let report = sockleak(&["list", "--json", "--netns", &path]).report();
    assert_rows(&report, [Want::held(&leaker, &leak)]);

    let everywhere = sockleak(&["list", "--json", "--pid", &leaker.pid.to_string()]).report();
    assert_rows(&everywhere, [Want::held(&leaker, &leak)]);
}

#[test]
fn the_oldest_comes_first() {
    let mut leaker = Leaker::listening();
    let mut leaks = Vec::new();
    for _ in 0..3 {
        leaks.push(leaker.leak());
        let planted = std::time::Instant::now();
        wait_until("a tick of the kernel's clock", || planted.elapsed().as_millis() >= 100);
    }
    let report = list(&leaker, &[]);
    let remotes: Vec<_> = report.sockets.iter().map(|row| &row.remote).collect();
    assert_eq!(remotes, leaks.iter().map(|leak| &leak.remote).collect::<Vec<_>>());
}
