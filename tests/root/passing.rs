//! What is held back in the kernel, because most sockets leave CLOSE_WAIT within a moment: told where it stays,
//! and never told out of order.

use std::collections::HashSet;

use sockleak::conn::Conn as Ends;
use sockleak::event::{Record, Transition};
use sockleak::probe::{Config, Probe};
use sockleak::state::{State, StateSet};

use crate::common::{Conn, Kind, Leaker, allow_locked_memory, wait_until};

fn holding_back() -> Probe {
    allow_locked_memory();
    let mut probe = Probe::open(&Config {
        watched: StateSet::CLOSE_WAIT,
        transitions: StateSet::CLOSE_WAIT,
        brief: true,
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

#[test]
fn only_what_stays_is_told_and_once() {
    let mut leaker = Leaker::listening();
    let mut probe = holding_back();
    assert_eq!(leaker.churn(20, 60_000), 20);
    let leak = leaker.leak();
    assert_eq!(of_netns(&leaker, probe.take().unwrap()), []);
    probe.hold_back(false);
    assert_eq!(of_netns(&leaker, probe.take().unwrap()), []);
    let told = of_netns(&leaker, probe.take_passing().unwrap());
    assert!(matches!(&told[..], [entry] if is_entry_of(entry, &leak)), "{told:?}");
    assert_eq!(of_netns(&leaker, probe.take_passing().unwrap()), []);
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
    assert_eq!(of_netns(&leaker, probe.take_passing().unwrap()), []);
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
    let [of_late, entry, end] = &told[..] else { panic!("{told:?}") };
    assert!(is_entry_of(of_late, &late) && is_entry_of(entry, &early), "{told:?}");
    assert_eq!((end.sock, end.old), (entry.sock, State::CloseWait));
    assert_eq!(of_netns(&leaker, probe.take_passing().unwrap()), []);
}
