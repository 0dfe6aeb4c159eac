//! What is held back in the kernel, because most sockets leave CLOSE_WAIT within a moment: told where it stays,
//! and never told out of order.

use std::collections::HashSet;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sockleak::probe::{Config, Probe};
use sockleak::sock::conn::Conn as Ends;
use sockleak::sock::event::{Record, Transition};
use sockleak::sock::state::{State, StateSet};

use crate::common::{Conn, Kind, Leaker, allow_locked_memory, wait_until};

fn holding_back() -> Probe {
    allow_locked_memory();
    let mut probe = Probe::open(&Config {
        watched: StateSet::CLOSE_WAIT,
        transitions: StateSet::CLOSE_WAIT,
        scans: true,
        ring_size: 1 << 20,
        btf: None,
    })
    .unwrap();
    probe.attach().unwrap();
    probe.hold_back(true);
    probe
}

/// The transitions among these, without what happens beside this test.
fn of_netns(leaker: &Leaker, records: Vec<Record>) -> Vec<Transition> {
    let mut socks = HashSet::new();
    let ours = |record| {
        let Record::Transition(transition) = record else { return None };
        // A peer that shuts down one side is told of, too.
        if transition.new == State::FinWait1 {
            return None;
        }
        // What leaves tells its address alone, which may have been another socket's before.
        let ours = match transition.conn.netns {
            0 => socks.contains(&transition.sock),
            netns if u64::from(netns) == leaker.netns => {
                socks.insert(transition.sock);
                true
            }
            _ => {
                socks.remove(&transition.sock);
                false
            }
        };
        ours.then_some(transition)
    };
    records.into_iter().filter_map(ours).collect()
}

fn is_entry_of(transition: &Transition, conn: &Conn) -> bool {
    let Transition { conn: Ends { local, remote, .. }, new: State::CloseWait, .. } = transition
    else {
        return false;
    };
    (local.to_string(), remote.to_string()) == (conn.local.clone(), conn.remote.clone())
}

/// All that is told from now on, and the end of holding back.
fn told_at_last(probe: &mut Probe, leaker: &Leaker) -> Vec<Transition> {
    probe.hold_back(false);
    let mut told = probe.take().unwrap();
    told.extend(probe.take_passing());
    told.extend(probe.take_passing());
    of_netns(leaker, told)
}

/// Beside other tests: where one of their sockets has its place, one of ours is told at once.
#[test]
fn only_what_stays_is_told_and_once() {
    let mut leaker = Leaker::listening();
    let mut probe = holding_back();
    assert_eq!(leaker.churn(1000, 60_000), 1000);
    let leak = leaker.leak();
    let told = told_at_last(&mut probe, &leaker);
    assert!(told.len() < 500, "most of 2000 have passed: {}", told.len());
    let entries: Vec<_> = told.iter().filter(|told| is_entry_of(told, &leak)).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(told.iter().rfind(|told| told.sock == entries[0].sock), Some(entries[0]));
}

/// Held back until it is destroyed under its program, which keeps the descriptor.
#[test]
fn its_entry_is_told_before_its_reset() {
    let mut leaker = Leaker::listening();
    let mut probe = holding_back();
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.abort(conn.peer());
    let mut told = Vec::new();
    wait_until("its entry and its end", || {
        told.extend(probe.take().unwrap());
        of_netns(&leaker, told.clone()).len() >= 2
    });
    let told = of_netns(&leaker, told);
    let [entry, reset] = &told[..] else { panic!("{told:?}") };
    assert!(is_entry_of(entry, &conn) && reset.new == State::Close, "{told:?}");
    assert_eq!(entry.sock, reset.sock);
    assert_eq!(told_at_last(&mut probe, &leaker), []);
}

/// A scan may begin now: whatever it sees, its end has to be heard of.
#[test]
fn what_leaves_after_that_is_told() {
    let mut leaker = Leaker::listening();
    let mut probe = holding_back();
    let early = leaker.leak();
    probe.hold_back(false);
    let late = leaker.leak();
    leaker.close(early.fd());
    let told = of_netns(&leaker, probe.take().unwrap());
    let [.., entry, end] = &told[..] else { panic!("{told:?}") };
    let (entry, of_late) =
        if is_entry_of(entry, &early) { (entry, &told[0]) } else { (&told[0], entry) };
    assert!(is_entry_of(of_late, &late) && is_entry_of(entry, &early), "{told:?}");
    assert_eq!((told.len(), end.sock, end.old), (3, entry.sock, State::CloseWait));
    assert_eq!(told_at_last(&mut probe, &leaker), []);
}

/// Its time is the FIN's own, by another clock than the programs'.
#[test]
fn it_is_told_when_it_came() {
    let mut leaker = Leaker::listening();
    let mut probe = holding_back();
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros();
    for _ in 0..10 {
        let before = now();
        let leak = leaker.leak();
        let after = now();
        let told = told_at_last(&mut probe, &leaker);
        let [entry] = &told[..] else { panic!("{told:?}") };
        assert!(is_entry_of(entry, &leak));
        let came = u128::from(entry.ktime / 1000);
        assert!((before..=after).contains(&came), "{before} {came} {after}");
        probe.hold_back(true);
    }
}
