//! The second look of `list`: what closes in good time is no leak.

use std::time::Duration;

use crate::common::tool::list_text;
use crate::common::{Leaker, list, settle, slow_machine, wait_until};

/// A server that closes 2 ms after end-of-file, at 500 connections a second, beside one that takes 50 ms: some
/// of its connections are in CLOSE_WAIT whenever one looks.
#[test]
fn a_busy_server_that_closes_at_once() {
    let mut leaker = Leaker::start();
    // An emulated machine cannot serve so many.
    let share = if slow_machine() { 10 } else { 1 };
    leaker.visits(500 / share, Duration::from_millis(2));
    leaker.visits(100 / share, Duration::from_millis(50));
    for _ in 0..if slow_machine() { 3 } else { 20 } {
        let report = list(&leaker, settle());
        assert!(report.complete && report.sockets.is_empty(), "{report:#?}");
    }
}

/// A handler that takes 3 s is a leak for those only who do not wait for it.
#[test]
fn a_slow_handler_and_a_patient_look() {
    let mut leaker = Leaker::start();
    leaker.visits(5, Duration::from_secs(3));
    wait_until("some handlers are at work", || list(&leaker, &[]).sockets.len() >= 5);
    let patient = list(&leaker, &["--settle", "5s"]);
    assert!(patient.complete && patient.sockets.is_empty(), "{patient:#?}");
}

#[test]
fn what_is_no_duration_is_refused() {
    let leaker = Leaker::start();
    let ran = list_text(&leaker, &["--settle", "soon"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("--settle") && ran.stderr.contains("soon"), "{ran:?}");
}
