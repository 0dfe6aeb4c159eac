//! The tool needs two capabilities, and says what it cannot see without more.

use std::process::Command;
use std::thread;

use caps::{CapSet, Capability};

use crate::common::tool::{Ran, binary, sockleak};
use crate::common::{Kind, Leaker, Want, allow_locked_memory, assert_rows, need_root};

pub(crate) const NEEDED: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// Runs the tool with no other capabilities than these.
fn run_with(kept: &[Capability], arguments: &[&str]) -> Ran {
    allow_locked_memory();
    with_only(kept, || sockleak(arguments))
}

/// Runs a closure in a thread whose children have no other capabilities than these.
pub(crate) fn with_only<T: Send>(kept: &[Capability], work: impl FnOnce() -> T + Send) -> T {
    need_root();
    thread::scope(|scope| {
        let run = || {
            // What is dropped here, in this thread, is beyond the reach of the programs it executes.
            for capability in caps::all().into_iter().filter(|one| !kept.contains(one)) {
                if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
                    caps::drop(None, CapSet::Bounding, capability).unwrap();
                }
            }
            work()
        };
        let runner = scope.spawn(run);
        runner.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

#[test]
fn two_are_enough_for_sockets_with_a_descriptor() {
    let mut leaker = Leaker::listening();
    let leaks = leaker.plant(Kind::EofRead, 3);
    let netns = leaker.netns.to_string();
    let ran = run_with(&NEEDED, &["list", "--json", "--netns", &netns]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let wants: Vec<_> = leaks.iter().map(|leak| Want::held(&leaker, leak)).collect();
    assert_rows(&ran.report(), wants);
}

/// A socket in flight has no descriptor. It is in the hash table of all connections.
#[test]
fn two_are_enough_for_sockets_without_one() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    let netns = leaker.netns.to_string();
    let ran = run_with(&NEEDED, &["list", "--json", "--netns", &netns]);
    assert_rows(&ran.report(), [Want::held(&leaker, &leak).ownerless("unknown")]);
}

#[test]
fn a_missing_one_is_named() {
    for (kept, missing) in [(NEEDED[0], "CAP_PERFMON"), (NEEDED[1], "CAP_BPF")] {
        let ran = run_with(&[kept], &["list"]);
        assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains(missing), "{ran:?}");
    }
}

/// It is found without a look from inside of its network namespace.
#[test]
fn two_are_enough_for_a_hash_table_apart() {
    let parent = Leaker::start();
    let Some(mut leaker) =
        parent.start_apart("capabilities::two_are_enough_for_a_hash_table_apart")
    else {
        return;
    };
    leaker.listen("v4");
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    let netns = leaker.netns.to_string();
    let ran = run_with(&NEEDED, &["list", "--json", "--netns", &netns]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_rows(&ran.report(), [Want::held(&leaker, &leak).ownerless("unknown")]);
}

/// Without the limit lifted, which Linux before 5.11 needs, it says so; others do not care.
#[test]
fn too_little_locked_memory_is_told() {
    let leaker = Leaker::start();
    let netns = leaker.netns.to_string();
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -l 64 && exec "$0" "$@""#]).arg(binary());
    command.args(["list", "--netns", &netns]);
    let ran = with_only(&NEEDED, || Ran::of(&mut command));
    if ran.code == Some(3) {
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        for word in ["ulimit -l", "CAP_SYS_RESOURCE"] {
            assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
        }
    }
    assert!(matches!(ran.code, Some(0 | 3 | 4)), "{ran:?}");
}
