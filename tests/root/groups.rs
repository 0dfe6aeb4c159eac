//! Sums: for each process, and by `--group-by`.

use std::collections::BTreeMap;

use crate::common::report::Group;
use crate::common::{Kind, Leaker, Watch, list};

fn counts(verdicts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    verdicts.iter().map(|(verdict, count)| ((*verdict).to_owned(), *count)).collect()
}

/// The groups' counts and verdicts, by the text of their keys.
fn summary(groups: &[Group]) -> BTreeMap<String, (u64, BTreeMap<String, u64>)> {
    let line = |group: &Group| {
        assert!(group.oldest_age_seconds.is_some(), "{group:#?}");
        let key = group.key.as_str().map_or_else(|| group.key.to_string(), str::to_owned);
        let present = group.verdicts.clone().into_iter().filter(|(_, count)| *count > 0);
        (key, (group.count, present.collect()))
    };
    groups.iter().map(line).collect()
}

/// Three eof-read and a data-unread in one process, two never accepted in another.
fn plant() -> (Leaker, Leaker) {
    let mut one = Leaker::listening();
    one.plant(Kind::EofRead, 3);
    one.plant(Kind::DataUnread(9), 1);
    let mut other = one.start_beside();
    other.listen("v4");
    other.plant(Kind::NeverAccepted, 2);
    (one, other)
}

fn grouped(leaker: &Leaker, by: &str) -> BTreeMap<String, (u64, BTreeMap<String, u64>)> {
    summary(&list(leaker, &["--group-by", by]).groups)
}

#[test]
fn by_verdict() {
    let (one, _other) = plant();
    let groups = grouped(&one, "verdict");
    let wanted = [("data-unread", 1), ("eof-read", 3), ("never-accepted", 2)]
        .map(|(verdict, count)| (verdict.to_owned(), (count, counts(&[(verdict, count)]))));
    assert_eq!(groups, BTreeMap::from(wanted));
}

#[test]
fn by_state() {
    let (mut one, _other) = plant();
    let aborted = one.plant_one(Kind::HalfClosed);
    one.abort(aborted.peer());
    let groups = grouped(&one, "state");
    assert_eq!(groups.len(), 2, "{groups:#?}");
    assert_eq!(groups["CLOSE"], (1, counts(&[("reset", 1)])));
    let verdicts = [("data-unread", 1), ("eof-read", 3), ("never-accepted", 2)];
    assert_eq!(groups["CLOSE_WAIT"], (6, counts(&verdicts)));
}

#[test]
fn by_process() {
    let (one, other) = plant();
    let groups = grouped(&one, "process");
    assert_eq!(groups.len(), 2, "{groups:#?}");
    let of = |leaker: &Leaker| {
        let pid = leaker.pid.to_string();
        let mut keys = groups.keys().filter(|key| key.contains(&pid));
        groups[keys.next().unwrap()].clone()
    };
    assert_eq!(of(&one), (4, counts(&[("data-unread", 1), ("eof-read", 3)])));
    assert_eq!(of(&other), (2, counts(&[("never-accepted", 2)])));
}

#[test]
fn by_listener() {
    let mut leaker = Leaker::start();
    let (first, second) = (leaker.listen("v4"), leaker.listen("v4"));
    leaker.plant(Kind::EofRead, 2);
    let third = leaker.listen("v6");
    leaker.plant(Kind::EofUnread, 3);
    let groups = grouped(&leaker, "listener");
    assert_eq!(groups.len(), 2, "{groups:#?}");
    assert!(!groups.contains_key(&first.local));
    assert_eq!(groups[&second.local], (2, counts(&[("eof-read", 2)])));
    assert_eq!(groups[&third.local], (3, counts(&[("eof-unread", 3)])));
}

/// Clients are told apart by their address, whatever their port.
#[test]
fn by_remote() {
    let mut leaker = Leaker::start();
    leaker.listen("v6");
    leaker.plant(Kind::EofRead, 4);
    leaker.listen("v4");
    leaker.plant(Kind::EofRead, 2);
    let groups = grouped(&leaker, "remote");
    let sizes: Vec<u64> = groups.values().map(|(count, _)| *count).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 6);
    assert_eq!(groups.len(), 3, "::1 and two clients over IPv4: {groups:#?}");
}

#[test]
fn a_leak_rate_and_when_it_ends() {
    let mut leaker = Leaker::listening();
    leaker.limit(1024);
    leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    let first = watch.wait_for("the first leak", |report| report.sockets.len() == 1);
    let process = first.process(leaker.pid).unwrap();
    assert_eq!((process.leaked_per_minute, process.exhausted_in_seconds), (None, None));
    assert_eq!((process.leaked, process.fd_limit), (1, Some(1024)));

    let end = std::time::Instant::now() + crate::common::DEADLINE;
    let grown = loop {
        leaker.leak();
        let report = watch.next();
        let process = report.process(leaker.pid).unwrap().clone();
        if process.exhausted_in_seconds.is_some() {
            break process;
        }
        assert!(std::time::Instant::now() < end, "no forecast: {process:#?}");
    };
    let rate = grown.leaked_per_minute.unwrap();
    let left = (grown.fd_limit.unwrap() - grown.open_fds.unwrap()) as f64;
    let forecast = grown.exhausted_in_seconds.unwrap();
    assert!(rate > 0.0 && forecast > 0.0, "{grown:#?}");
    // About one leak an interval; both numbers have to tell the same story.
    assert!((forecast - left / rate * 60.0).abs() <= 0.2 * forecast + 1.0, "{grown:#?}");
}
