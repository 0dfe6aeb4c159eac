//! Since when: exact for what the tool saw, a bound for what was there before it.

use std::time::Instant;

use crate::common::{Kind, Leaker, Want, Watch, assert_rows, has_rows, list, slow_machine};

/// By how many seconds the kernel's jiffies may be late.
fn tolerance() -> f64 {
    if slow_machine() { 0.5 } else { 0.05 }
}

#[test]
fn a_leak_from_before_the_start_is_at_least_so_old() {
    let before = Instant::now();
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let planted = Instant::now();
    // The bound needs something to bound; the kernel's clock for it ticks at least each 10 ms.
    crate::common::wait_until("the leak is old enough", || planted.elapsed().as_millis() > 500);

    let at_least = planted.elapsed().as_secs_f64();
    let report = list(&leaker, &[]);
    let at_most = before.elapsed().as_secs_f64();
    assert_rows(&report, [Want::held(&leaker, &leak)]);
    let row = report.only_row();
    assert_eq!(row.age_is, "at-least");
    let age = row.age_seconds.unwrap();
    assert!(age <= at_most, "{age} is a bound from below; it began less than {at_most} ago");
    let bound = row.age_at_most_seconds.expect("a connection has received something");
    assert!(bound + tolerance() >= at_least, "{bound} is a bound from above; it is {at_least} old");
    assert!(age <= bound, "{row:#?}");
}

#[test]
fn a_leak_under_watch_has_its_exact_age_and_its_owner_wait_for() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let before = Instant::now();
    let leaks = leaker.plant(Kind::EofRead, 5);
    let planted = Instant::now();
    let wants: Vec<_> = leaks.iter().map(|leak| Want::held(&leaker, leak)).collect();
    let report = watch.wait_for("five owned rows", |report| has_rows(report, &wants));
    assert!(report.all_ages_are("exact"), "{report:#?}");
    for row in &report.sockets {
        let age = row.age_seconds.unwrap();
        assert!(age <= before.elapsed().as_secs_f64(), "{row:#?}");
    }

    let second = watch.wait_for("an age above a second", |report| {
        report.sockets.iter().all(|row| row.age_seconds.unwrap() > 1.0)
    });
    assert!(planted.elapsed().as_secs_f64() > 0.5, "the ages run ahead: {second:#?}");
}

#[test]
fn watch_tells_old_leaks_from_new_ones() {
    let mut leaker = Leaker::listening();
    let old = leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    let new = leaker.leak();
    let wants = [Want::held(&leaker, &old), Want::held(&leaker, &new)];
    let report = watch.wait_for("both", |report| has_rows(report, &wants));
    let age_is = |remote: &str| {
        let row = report.sockets.iter().find(|row| row.remote == remote).unwrap();
        row.age_is.clone()
    };
    assert_eq!((age_is(&old.remote).as_str(), age_is(&new.remote).as_str()), ("at-least", "exact"));
}

/// A bound that nothing supports must not be made of the kernel's zeros, in whatever state.
#[test]
fn no_socket_is_older_than_the_test() {
    let begin = Instant::now();
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 1);
    leaker.plant(Kind::Established, 1);
    let half = leaker.plant(Kind::HalfClosed, 2);
    leaker.abort(half[0].peer());
    leaker.listen("v4 0");
    leaker.plant(Kind::NeverAccepted, 1);
    leaker.dial();
    // A socket that was never connected, in state CLOSE.
    leaker.unconnected();
    let report = list(&leaker, &["--state", "all"]);
    let elapsed = begin.elapsed().as_secs_f64() + tolerance();
    assert!(report.sockets.len() >= 10, "{report:#?}");
    for row in &report.sockets {
        let ages = [row.age_seconds, row.idle_seconds];
        assert!(ages.into_iter().flatten().all(|age| age <= elapsed), "{elapsed} s: {row:#?}");
    }
}
