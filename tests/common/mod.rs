//! What the tests stand on: a planted workload in a network namespace of its own, the tool's process,
//! and its reports as plain values.
//!
//! Nothing here sleeps for a fixed time. A test waits for a condition, until a generous deadline: the
//! same tests run in emulated machines that are fifty times slower.
//!
//! - `SOCKLEAK_BIN` is the tool to test instead of the one that cargo built.
//! - `LEAKER_BIN` is the workload instead of `target/<profile>/examples/leaker`.
//! - `SOCKLEAK_TEST_SLOW` set to anything lifts limits that count in intervals: it says that the machine
//!   is too slow, or has too many descriptors open elsewhere, for the tool to keep them within its
//!   budget of CPU time.

// Each test target uses its own part.
#![allow(dead_code, unused_imports)]

pub(crate) mod cgroup;
pub(crate) mod container;
pub(crate) mod leaker;
pub(crate) mod lines;
pub(crate) mod orders;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod terminal;
pub(crate) mod tool;

use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

pub(crate) use cgroup::Cgroups;
pub(crate) use leaker::{Conn, Kind, Leaker, Listener};
pub(crate) use orders::Slot;
pub(crate) use report::{Report, Row, Want, assert_rows, has_rows};
pub(crate) use tool::{Events, Ran, Watch, list, sockleak};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The same for work of `count` connections.
pub(crate) fn deadline_for(count: usize) -> Duration {
    DEADLINE + Duration::from_millis(10) * u32::try_from(count).unwrap()
}

/// A shell has its background jobs ignore SIGINT, and so would all that they start.
#[allow(unsafe_code, reason = "to restore a default action touches no memory")]
pub(crate) fn heed_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for each in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            unsafe { signal(each, SigHandler::SigDfl) }.unwrap();
        }
    });
}

/// A test that needs root fails without it, in words that help.
pub(crate) fn need_root() {
    heed_signals();
    assert!(nix::unistd::geteuid().is_root(), "this test needs root: try `sudo make test`");
}

/// Linux before 5.11 counts BPF's memory as locked memory, of which a process may have little.
pub(crate) fn allow_locked_memory() {
    need_root();
    // Newer kernels do not care, and in a container even root may not.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Whether this machine is emulated: limits in intervals are to be lifted, and its clocks may stop.
pub(crate) fn slow_machine() -> bool {
    std::env::var_os("SOCKLEAK_TEST_SLOW").is_some()
}

/// How long `list` has to wait for its second look, for healthy programs to have closed what they close
/// at once: an emulated machine is too slow for the default.
pub(crate) fn settle() -> &'static [&'static str] {
    if slow_machine() { &["--settle", "10s"] } else { &[] }
}

/// Waits until `condition` holds, and panics with `what` when it does not come to hold.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited for {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this kernel's BPF programs can call a helper (`bpf_…`), as its own type information lists them.
pub(crate) fn has_helper(name: &str) -> bool {
    let listed = name.replacen("bpf_", "BPF_FUNC_", 1);
    let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    types.split(|byte| *byte == 0).any(|string| string == listed.as_bytes())
}

/// Says, in a form that a script finds, that this kernel lacks what a test needs.
pub(crate) fn not_possible(test: &str, reason: impl std::fmt::Display) {
    // Not through println!, which the test runner would keep to itself.
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "not possible: {test}: {reason}");
}
