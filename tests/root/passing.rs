//! Events of sockets that pass through CLOSE_WAIT, most of them within a moment: each entry and each
//! exit of those that stay, once, in order and at its time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sockleak::probe::{Config, Probe};
use sockleak::sock::conn::{Conn as Ends, SockPtr};
use sockleak::sock::event::{Record, Transition};
use sockleak::sock::state::{State, StateSet};
use sockleak::sock::sums::GROUPS;

use crate::common::{Conn, Kind, Leaker, allow_locked_memory, wait_until};

fn following() -> Probe {
    following_states(StateSet::CLOSE_WAIT)
}

fn following_states(states: StateSet) -> Probe {
    allow_locked_memory();
    let mut probe = Probe::open(&Config {
        watched: states,
        transitions: states,
        scans: true,
        ring_size: 4 << 20,
        btf: None,
        kept: &[],
    })
    .unwrap();
    probe.attach().unwrap();
    probe
}

/// The entries into CLOSE_WAIT and the exits from it in the leaker's network namespace.
fn of_netns(leaker: &Leaker, records: Vec<Record>) -> Vec<Transition> {
    let mut socks = HashSet::new();
    let ours = |record| {
        let Record::Transition(transition) = record else { return None };
        // Peers shut down their sending side, and come to their end with a descriptor.
        if ![transition.old, transition.new].contains(&State::CloseWait) {
            return None;
        }
        // An exit has only an address, which may have been another socket's before.
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

#[test]
fn every_entry_that_stays_has_its_exit_after_it() {
    let mut leaker = Leaker::listening();
    let mut probe = following();
    let mut records = Vec::new();
    for _ in 0..10 {
        assert_eq!(leaker.churn(100, 60_000), 100);
        let leaks: Vec<_> = (0..5).map(|_| leaker.leak()).collect();
        records.extend(probe.take().unwrap());
        leaks.iter().for_each(|leak| leaker.close(leak.fd()));
        records.extend(probe.take().unwrap());
    }
    let leak = leaker.leak();
    records.extend(probe.take().unwrap());
    assert_eq!(probe.lost(), 0);
    let mut present: HashMap<SockPtr, Transition> = HashMap::new();
    let mut entries = 0;
    for event in of_netns(&leaker, records) {
        if event.new == State::CloseWait {
            entries += 1;
            assert_eq!(present.insert(event.sock, event), None);
        } else {
            let entry = present.remove(&event.sock);
            assert!(entry.is_some_and(|entry| entry.ktime <= event.ktime), "{event:?}");
        }
    }
    assert_eq!(entries, 51);
    let present: Vec<_> = present.into_values().collect();
    let [entry] = &present[..] else { panic!("{present:?}") };
    assert!(is_entry_of(entry, &leak), "{entry:?}");
}

/// Destroyed under its program, which keeps the descriptor.
#[test]
fn a_reset_is_told_after_the_entry() {
    let mut leaker = Leaker::listening();
    let mut probe = following();
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
}

#[test]
fn an_entry_is_told_with_its_time() {
    let mut leaker = Leaker::listening();
    let mut probe = following();
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_nanos();
    for _ in 0..10 {
        let before = now();
        let leak = leaker.leak();
        let after = now();
        let told = of_netns(&leaker, probe.take().unwrap());
        let [entry] = &told[..] else { panic!("{told:?}") };
        assert!(is_entry_of(entry, &leak));
        let came = u128::from(entry.ktime);
        assert!((before..=after).contains(&came), "{before} {came} {after}");
    }
}

#[test]
fn a_socket_that_was_told_to_be_in_another_state_is_told_to_leave_it() {
    let mut leaker = Leaker::listening();
    let states = [State::Established, State::CloseWait].map(StateSet::from).into_iter().collect();
    let mut probe = following_states(states);
    let conn = leaker.plant_one(Kind::Established);
    let before = probe.take().unwrap();
    leaker.close(conn.peer());
    leaker.drain(conn.fd());
    leaker.close(conn.fd());
    let told = of_netns(&leaker, before.into_iter().chain(probe.take().unwrap()).collect());
    let [entry, exit] = &told[..] else { panic!("{told:?}") };
    assert_eq!((entry.old, entry.new), (State::Established, State::CloseWait));
    assert!(is_entry_of(entry, &conn), "{entry:?}");
    assert_eq!((exit.sock, exit.old), (entry.sock, State::CloseWait));
}

/// The scan brings them into the table, so their exits have to be told.
fn told_with_its_exit(scan: impl Fn(&mut Probe, &mut Vec<Record>)) {
    let mut leaker = Leaker::listening();
    let mut probe = following();
    let leak = leaker.leak();
    let queued = leaker.plant_one(Kind::NeverAccepted);
    let mut told = Vec::new();
    scan(&mut probe, &mut told);
    leaker.close(leak.fd());
    for accepted in leaker.accept(1) {
        leaker.close(accepted.fd());
    }
    told.extend(probe.take().unwrap());
    let told = of_netns(&leaker, told);
    let [leak_in, queued_in, leak_out, queued_out] = &told[..] else { panic!("{told:?}") };
    let (leak_in, queued_in) = match is_entry_of(leak_in, &leak) {
        true => (leak_in, queued_in),
        false => (queued_in, leak_in),
    };
    assert!(is_entry_of(leak_in, &leak) && is_entry_of(queued_in, &queued), "{told:?}");
    assert_eq!((leak_out.sock, leak_out.old), (leak_in.sock, State::CloseWait));
    assert_eq!((queued_out.sock, queued_out.old), (queued_in.sock, State::CloseWait));
}

#[test]
fn what_a_scan_of_files_reports_is_told_with_its_exit() {
    told_with_its_exit(|probe, told| probe.scan_files(|record| told.push(record)).unwrap());
}

#[test]
fn what_the_walk_reports_is_told_with_its_exit() {
    let all: Vec<usize> = (0..GROUPS).collect();
    told_with_its_exit(|probe, told| {
        probe.scan_ehash(&all, |record| told.push(record)).unwrap();
    });
}
