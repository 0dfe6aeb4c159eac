//! Plants a socket for each verdict, and looks whether it is found.

mod plant;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use self::plant::{PLANTS, Planted};
use crate::host::clock::Moment;
use crate::host::netns;
use crate::host::privilege::SELF_TEST;
use crate::live::RELAY_NS;
use crate::live::monitor::{Monitor, Rules};
use crate::probe::variants::{Group, KernelFacts, PROGRAMS};
use crate::probe::{Config, Probe};
use crate::report::{Query, Report, Shown};
use crate::sock::leak::{Class, Verdict};
use crate::sock::state::{State, StateSet};

/// How long the kernel may take to bring a packet from loopback to loopback. An emulated machine
/// is slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the self-test looks for its sockets.
const SEARCH: Duration = Duration::from_secs(60);
/// After this time, the self-test plants a socket once more for each verdict that it has not found:
/// on a busy host, other processes may have come between its steps, or events may have been lost.
const RETRY: Duration = Duration::from_secs(1);
/// The pause between two looks; and long enough for nothing that is planted after one to look like
/// a relay of what was planted before.
const PAUSE: Duration = Duration::from_nanos(RELAY_NS);
/// A ring of this size is enough, and is a multiple of every page size.
const RING_SIZE: u32 = 1 << 20;

/// Result of the self-test.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SelfTest {
    /// How many sockets were planted, each with another verdict.
    pub planted: usize,
    /// How many of them were found, with their class and verdict, and with their holder.
    pub found: usize,
    /// The verdicts of the others.
    pub not_found: Vec<Verdict>,
    /// How many rows about them name another holder than the one that it is.
    pub wrong_owners: usize,
    /// How long it took, from loading the programs on.
    pub seconds: f64,
    /// True if it had a network namespace of its own, and did not use the present one.
    pub own_network_namespace: bool,
    /// Why it could not be done to its end.
    pub error: Option<String>,
}

/// Returns true if such a kernel can show a verdict. A connection that waits in an accept queue has
/// no descriptor: a program has to walk along the queue.
fn can_show(kernel: KernelFacts, verdict: Verdict) -> bool {
    let walks = |group| PROGRAMS.iter().any(|it| it.group == group && it.is_for(kernel));
    match verdict {
        Verdict::NeverAccepted | Verdict::Unaccepted => walks(Group::Queues),
        _ => true,
    }
}

impl SelfTest {
    /// Returns true if everything was found.
    pub fn passed(&self) -> bool {
        self.error.is_none()
            && self.planted > 0
            && self.found == self.planted
            && self.wrong_owners == 0
    }

    /// Runs it: for each verdict that the kernel can show. Leaves this process in another network
    /// namespace, and without privilege.
    pub fn run(btf: Option<PathBuf>, kernel: KernelFacts) -> Self {
        let begin = Instant::now();
        let mut test = Self::default();
        if let Err(error) = test.attempt(btf, kernel) {
            test.error = Some(format!("{error:#}"));
        }
        test.seconds = (begin.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        test
    }

    fn attempt(&mut self, btf: Option<PathBuf>, kernel: KernelFacts) -> Result<()> {
        if SELF_TEST.missing().is_empty() {
            netns::enter_new().context("cannot make a network namespace")?;
            self.own_network_namespace = true;
        }
        // The way of `watch`: attached first, and without privilege from then on.
        let config = Config {
            watched: StateSet::NONE,
            transitions: StateSet::CLOSE_WAIT,
            scans: true,
            ring_size: RING_SIZE,
            btf,
            kept: &[],
        };
        let rules = Rules { watched: StateSet::NONE, idle: 0, settle: 0 };
        let mut monitor = Probe::monitor(&config, rules)?;
        self.not_found = Verdict::ALL.into_iter().filter(|&it| can_show(kernel, it)).collect();
        self.planted = self.not_found.len();
        let mut planted = Vec::new();
        let end = Instant::now() + SEARCH;
        loop {
            self.plant(&mut planted)?;
            let again = Instant::now() + RETRY;
            while Instant::now() < again {
                monitor.look_twice(thread::sleep)?;
                self.count(&planted, &monitor);
                if self.passed() || Instant::now() > end {
                    return Ok(());
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Plants a socket for each verdict that has not been found. Those that are there stay.
    fn plant(&self, planted: &mut Vec<(Verdict, Planted)>) -> Result<()> {
        for (verdict, plant) in PLANTS {
            if self.not_found.contains(&verdict) {
                let socket = plant().with_context(|| format!("cannot plant {verdict}"))?;
                planted.push((verdict, socket));
            }
        }
        Ok(())
    }

    fn count(&mut self, planted: &[(Verdict, Planted)], monitor: &Monitor<Probe>) {
        // The first query takes every socket for idle, the second none that was ever seen to move:
        // each verdict shows in one of them.
        let states = [State::CloseWait, State::Close].map(StateSet::from).into_iter().collect();
        let queries = [(Shown::Stranded, 0), (Shown::States(states), u64::MAX)]
            .map(|(shown, idle)| Query { shown, idle, ..Query::default() });
        let now = Moment::now();
        let [wrong, in_use] = queries
            .map(|query| Report::build(monitor.table(), &query, None, now, monitor.health()));
        let mut found = BTreeSet::new();
        self.wrong_owners = 0;
        for (verdict, socket) in planted {
            let report = if verdict.class() == Class::InUse { &in_use } else { &wrong };
            for row in report.sockets.iter().filter(|row| socket.is(row)) {
                if (row.class, row.verdict) == (verdict.class(), Some(*verdict)) {
                    found.insert(*verdict);
                }
                self.wrong_owners += usize::from(!socket.is_held_by(&row));
            }
        }
        self.found = found.len();
        let all: BTreeSet<_> = planted.iter().map(|(verdict, _)| *verdict).collect();
        self.not_found = all.difference(&found).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_walk_of_queues_nothing_in_them_is_planted() {
        let shown =
            |kernel| Verdict::ALL.into_iter().filter(move |&it| can_show(kernel, it)).count();
        assert_eq!(shown(KernelFacts::all()), Verdict::ALL.len());
        assert_eq!(shown(KernelFacts::all() - KernelFacts::MAP_ITERATOR), Verdict::ALL.len() - 2);
    }
}
