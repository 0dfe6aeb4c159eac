//! The clocks that ages and budgets are counted by.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_getres, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// The inode of the host's time namespace: `PROC_TIME_INIT_INO` in the kernel.
const INITIAL: u64 = 0xEFFF_FFFA;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// ns, as [`ktime`] counts them.
    pub ktime: u64,
    /// The time of day.
    pub time: SystemTime,
}

impl Moment {
    /// The present one.
    pub fn now() -> Self {
        Self { ktime: ktime(), time: SystemTime::now() }
    }
}

/// ns since the boot, as `bpf_ktime_get_ns()` counts them, which stamps the kernel's records: a time
/// namespace shifts `CLOCK_MONOTONIC`, and not that.
pub fn ktime() -> u64 {
    static OFFSET: OnceLock<i128> = OnceLock::new();
    let offset = OFFSET.get_or_init(|| offset("monotonic"));
    unshifted(monotonic(), *offset)
}

/// The last second that RFC 3339 knows, after 1970: the year has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time as RFC 3339 has it, in UTC, to the millisecond. Years end at 1970 and at 9999: on a host whose
/// clock was never set, a process may have begun before.
pub fn rfc3339(time: SystemTime) -> impl Display {
    humantime::format_rfc3339_millis(within(time))
}

/// The same to the second.
pub fn rfc3339_seconds(time: SystemTime) -> impl Display {
    humantime::format_rfc3339_seconds(within(time))
}

fn within(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LAST_SECOND))
}

/// The time of day at a moment of the kernel's `CLOCK_BOOTTIME`.
pub fn time_at(boottime: u64) -> Option<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    let ago = unshifted(now, boottime_offset()).checked_sub(boottime)?;
    SystemTime::now().checked_sub(Duration::from_nanos(ago))
}

/// A moment of the kernel's `CLOCK_BOOTTIME` as /proc/PID/stat shows it to us: in ticks, and shifted
/// by our time namespace.
pub fn proc_ticks(boottime: u64) -> Option<u64> {
    static PER_SECOND: OnceLock<i128> = OnceLock::new();
    let per_second = PER_SECOND.get_or_init(|| {
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        per_second.filter(|&ticks| ticks > 0).map_or(100, i128::from)
    });
    let shifted = i128::from(boottime) + boottime_offset();
    u64::try_from(shifted / (1_000_000_000 / per_second)).ok()
}

/// How many ns our `CLOCK_BOOTTIME` is ahead of the kernel's.
fn boottime_offset() -> i128 {
    static OFFSET: OnceLock<i128> = OnceLock::new();
    *OFFSET.get_or_init(|| offset("boottime"))
}

/// `CLOCK_MONOTONIC`: for differences.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The CPU time that this process has used, all threads together.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The length of the kernel's tick: 1/HZ s, the resolution of the coarse clocks; 0 if unknown.
pub fn tick_length() -> Duration {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

/// How many ns our clock of this name is ahead of the kernel's.
fn offset(clock: &str) -> i128 {
    // The file is about the namespace of our children. That is ours, too, unless we are still in the
    // host's: older kernels do not move who calls `unshare --time COMMAND`, only who is forked then.
    if fs::metadata("/proc/self/ns/time").is_ok_and(|own| own.ino() == INITIAL) {
        return 0;
    }
    // A kernel without CONFIG_TIME_NS has no such file, and shifts nothing.
    fs::read_to_string("/proc/self/timens_offsets").map_or(0, |text| offset_in(&text, clock))
}

/// The offset of a clock in ns. Its line has whole seconds, which may be negative, and the ns that
/// follow them: `monotonic       -300 500000000`.
fn offset_in(timens_offsets: &str, clock: &str) -> i128 {
    let offset = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|&name| name == clock)?;
        let mut number = || words.next()?.parse::<i64>().ok().map(i128::from);
        Some(number()? * 1_000_000_000 + number()?)
    };
    timens_offsets.lines().find_map(offset).unwrap_or(0)
}

fn unshifted(monotonic: Duration, offset: i128) -> u64 {
    let shifted = i128::try_from(monotonic.as_nanos()).unwrap_or(i128::MAX);
    u64::try_from(shifted.saturating_sub(offset).max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose clock was never set begins at 1970, and a process of it began before.
    #[test]
    fn a_time_outside_of_rfc_3339_is_at_its_end() {
        let moment = UNIX_EPOCH + Duration::from_millis(1_764_115_200_250);
        assert_eq!(rfc3339(moment).to_string(), "2025-11-26T00:00:00.250Z");
        assert_eq!(rfc3339_seconds(moment).to_string(), "2025-11-26T00:00:00Z");
        let before = UNIX_EPOCH - Duration::from_secs(100);
        assert_eq!(rfc3339(before).to_string(), "1970-01-01T00:00:00.000Z");
        let after = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(rfc3339(after).to_string(), "9999-12-31T23:59:59.000Z");
        assert_eq!(rfc3339_seconds(after).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn offsets() {
        for (text, wanted) in [
            ("monotonic           0         0\nboottime            0         0\n", 0),
            (
                "monotonic      100000         0\nboottime            7         0\n",
                100_000_000_000_000,
            ),
            (
                "monotonic        -300         0\nboottime            0         0\n",
                -300_000_000_000,
            ),
            ("monotonic          -1 999999999\n", -1),
            ("monotonic  9223372036854775807 999999999\n", 9_223_372_036_854_775_807_999_999_999),
            ("boottime            5         0\nmonotonic           6         1\n", 6_000_000_001),
            ("", 0),
            ("monotonic\n", 0),
            ("monotonic soon 0\n", 0),
            ("boottime 5 0\n", 0),
        ] {
            assert_eq!(offset_in(text, "monotonic"), wanted, "{text:?}");
        }
        assert_eq!(offset_in("monotonic 1 2\nboottime 3 4\n", "boottime"), 3_000_000_004);
    }

    #[test]
    fn our_own_start_is_in_the_past_and_ticks_follow_the_clock() {
        let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap();
        let now = unshifted(boottime, boottime_offset());
        assert!(time_at(now).is_some_and(|time| time <= SystemTime::now()));
        assert_eq!(time_at(u64::MAX), None);
        let second = proc_ticks(now + 1_000_000_000).unwrap() - proc_ticks(now).unwrap();
        assert_eq!(second, 100, "USER_HZ is 100 wherever sockleak runs");
    }

    #[test]
    fn what_a_namespace_adds_is_taken_off() {
        let hour = Duration::from_secs(3600);
        assert_eq!(unshifted(hour, 0), 3_600_000_000_000);
        assert_eq!(unshifted(hour, 3_599_000_000_000), 1_000_000_000);
        assert_eq!(unshifted(hour, -1), 3_600_000_000_001);
        assert_eq!(unshifted(hour, i128::MAX), 0);
        assert_eq!(unshifted(hour, i128::MIN), u64::MAX);
    }
}
