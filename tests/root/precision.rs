//! Healthy programs give no leaked row, whatever states they pass through.

use std::sync::Mutex;
use std::thread;

use crate::common::tool::list_in;
use crate::common::{Leaker, settle, slow_machine};

/// Side by side, because most of the time of each is its second look.
const LISTERS: usize = 4;

#[test]
fn nothing_healthy_is_leaked() {
    let mut leaker = Leaker::start();
    leaker.healthy();
    let netns = leaker.netns;
    let rounds = if slow_machine() { 2 } else { 26 };
    let leaks = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LISTERS {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let report = list_in(netns, settle());
                    if !report.complete || !report.sockets.is_empty() {
                        leaks.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let leaks = leaks.into_inner().unwrap();
    let (count, first) = (leaks.len(), leaks.first());
    assert!(leaks.is_empty(), "{count} of {} lists: {first:#?}", LISTERS * rounds);
    let progress = leaker.progress();
    assert_eq!(progress.len(), 10);
    assert!(progress.values().all(|rounds| *rounds >= 2), "all of it went on: {progress:?}");
}
