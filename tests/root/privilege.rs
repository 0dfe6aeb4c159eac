//! Capabilities are given up once they have served, and root is not needed to have them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use sockleak::sock::leak::Verdict;

use crate::common::lines::Running;
use crate::common::tool::Ran;
use crate::common::{
    DEADLINE, Events, Kind, Leaker, Want, allow_locked_memory, assert_rows, has_rows,
};
use crate::common::{Report, Watch};
use crate::refusals::Public;

const NEEDED: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// The capabilities that any thread of a process could still use.
pub(crate) fn held(pid: u32) -> BTreeSet<String> {
    let mut bits = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for line in status.lines() {
            let set = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
            if let Some(number) = set.iter().find_map(|name| line.strip_prefix(name)) {
                bits |= u64::from_str_radix(number.trim(), 16).unwrap();
            }
        }
    }
    let all = caps::all().into_iter();
    all.filter(|one| bits & one.bitmask() != 0).map(|one| one.to_string()).collect()
}

/// Before 5.19, bpf() needs CAP_BPF for whatever it does, unless all are allowed to use it.
fn assert_gave_up(pid: u32) {
    let held = held(pid);
    assert!(held.iter().all(|one| one == "CAP_BPF"), "{held:?}");
    let unprivileged = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let free = unprivileged.is_ok_and(|value| value.trim() == "0") || has_5_19();
    assert!(!free || !held.contains("CAP_BPF"), "{held:?}");
}

fn has_5_19() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(19))
}

#[test]
fn watch_keeps_nothing_and_goes_on() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    assert_gave_up(watch.process.pid());
    let leak = leaker.leak();
    let in_flight = leaker.leak();
    leaker.send_away(in_flight.fd());
    let flying = Want::held(&leaker, &in_flight).ownerless("unknown");
    let rows = [Want::held(&leaker, &leak), flying];
    watch.wait_for("what leaked after the drop", |report| has_rows(report, &rows));
    assert_gave_up(watch.process.pid());
}

#[test]
fn events_keeps_nothing() {
    let mut leaker = Leaker::listening();
    let events = Events::start(&mut leaker);
    assert_gave_up(events.process.pid());
}

/// Runs a closure in a thread whose children, whoever they become, have what sockleak needs only.
pub(crate) fn as_ambient<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    as_ambient_with(&[], work)
}

/// The same with more than it needs.
pub(crate) fn as_ambient_with<T: Send>(more: &[Capability], work: impl FnOnce() -> T + Send) -> T {
    allow_locked_memory();
    thread::scope(|scope| {
        let run = || {
            let given: CapsHashSet = NEEDED.iter().chain(more).copied().collect();
            caps::set(None, CapSet::Inheritable, &given).unwrap();
            caps::set(None, CapSet::Ambient, &given).unwrap();
            keep_capabilities_over_setuid();
            work()
        };
        let runner = scope.spawn(run);
        runner.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

#[allow(unsafe_code, reason = "neither nix nor caps has it; it touches no memory")]
fn keep_capabilities_over_setuid() {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    let done = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn two_capabilities_do_without_root() {
    let tool = Public::new("ambient");
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let waiting = {
        leaker.listen("v4");
        leaker.plant_one(Kind::NeverAccepted)
    };
    let netns = leaker.netns.to_string();
    let mut command = Command::new(&tool.0);
    command.args(["watch", "--json", "--interval", "200ms", "--netns", &netns]);
    command.uid(65534).gid(65534).stdin(Stdio::null());
    let mut watch = as_ambient(|| Running::start(&mut command));
    let Some(line) = watch.line(DEADLINE) else { panic!("no report: {}", watch.stderr()) };
    let report = Report::parse(&line);
    assert!(
        fs::read_to_string(format!("/proc/{}/status", watch.pid()))
            .unwrap()
            .contains("Uid:\t65534")
    );
    assert_gave_up(watch.pid());
    let fds: Vec<_> = report.sockets.iter().flat_map(|row| row.fds.clone()).collect();
    assert!(fds.contains(&leak.fd()), "{report:#?}");
    assert!(report.sockets.iter().any(|row| row.remote == waiting.remote), "{report:#?}");
    assert!(report.sockets.iter().all(|row| row.pid == Some(leaker.pid)), "{report:#?}");
}

/// Where there is one network namespace, or only one is asked for, nothing is out of sight.
#[test]
fn our_own_network_namespace_is_seen_entirely() {
    let tool = Public::new("own");
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let in_flight = leaker.leak();
    leaker.send_away(in_flight.fd());
    let netns = leaker.netns.to_string();
    let mut command = Command::new(&tool.0);
    command.args(["list", "--json", "--netns", &netns]).uid(65534).gid(65534);
    let ran = leaker.inside(|| as_ambient(|| Ran::of(&mut command)));
    let flying = Want::held(&leaker, &in_flight).ownerless("unknown");
    assert_rows(&ran.report(), [Want::held(&leaker, &leak), flying]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

/// doctor tests itself on loopback, where it may not make a network namespace.
#[test]
fn doctor_does_without_a_namespace_of_its_own() {
    let tool = Public::new("self-test");
    // Its loopback is to be used, not that of the host.
    let place = Leaker::start();
    let mut command = Command::new(&tool.0);
    command.args(["doctor", "--json"]).uid(65534).gid(65534);
    let ran = place.inside(|| as_ambient(|| Ran::of(&mut command)));
    let said: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(said["self_test"]["found"], Verdict::ALL.len(), "{said}");
    assert_eq!(said["self_test"]["own_network_namespace"], false, "{said}");
    assert_eq!(ran.code, Some(0), "{said}");
}
