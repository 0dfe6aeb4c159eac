//! Parsers of options' values. Each bounds what it lets through; an error says what to give instead.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::host::netns;
use crate::live::schedule::Budget;

/// Longer than any host stays up, and short enough to be added to any clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The shortest interval: looking more often would only burn a core.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A number of seconds, or numbers with units; at most a hundred years.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted =
        || "give a number of seconds, or numbers with units, such as 90s, 1m30s or 2h".to_owned();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let duration = match is_number {
        true => text.parse().map(Duration::from_secs).map_err(|_| too_long())?,
        false => match humantime::parse_duration(text) {
            Ok(duration) => duration,
            Err(humantime::DurationError::NumberOverflow) => return Err(too_long()),
            Err(_) => return Err(wanted()),
        },
    };
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

fn too_long() -> String {
    format!("give at most {}d", LONGEST.as_secs() / 86_400)
}

/// A duration that is not too short to wait for.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if interval < SHORTEST_INTERVAL => {
            Err(format!("give at least {}", humantime::format_duration(SHORTEST_INTERVAL)))
        }
        interval => Ok(interval),
    }
}

/// How many, at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| "give a number from 1 on".to_owned())
}

/// How many, or none.
pub(crate) fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "give a number from 0 on".to_owned())
}

/// A percentage, to a tenth.
pub(crate) fn budget(text: &str) -> Result<Budget, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = [whole, tenth].concat();
    let is_number = tenth.len() == 1 && (1..=3).contains(&whole.len());
    let is_number = is_number && digits.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = digits.parse().ok().filter(|_| is_number);
    let budget = thousandths.and_then(Budget::new);
    budget.ok_or_else(|| "give a percentage from 0.1% to 100%, such as 2.5%".to_owned())
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| "give a port from 1 to 65535".to_owned())
}

pub(crate) fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "give a number, as `id -u USER` prints it".to_owned())
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("give a name, as `ps -o comm` prints it".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Anything but nothing.
pub(crate) fn text(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("give something to look for".to_owned()),
        false => Ok(text.to_owned()),
    }
}

pub(crate) fn pid(text: &str) -> Result<u32, String> {
    let pid = text.parse().ok().filter(|&pid: &u32| pid > 0 && i32::try_from(pid).is_ok());
    pid.ok_or_else(|| "give the number of a process, as `ps` prints it".to_owned())
}

pub(crate) fn network_namespace(text: &str) -> Result<u32, String> {
    text.parse().or_else(|_| netns::inode(Path::new(text))).map_err(|error| {
        format!("{error}; give an inode, or a path such as /run/netns/NAME or /proc/PID/ns/net")
    })
}

pub(crate) fn table_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| (16..=1 << 24).contains(size));
    size.ok_or_else(|| "give a number from 16 to 16777216".to_owned())
}

pub(crate) fn ring_size(text: &str) -> Result<u32, String> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u32::try_from(page).ok()).unwrap_or(4096);
    let wanted = format!("give a power of two from {page} to 1GiB, such as 4MiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(wanted),
    };
    let size = digits.parse().ok().and_then(|number: u32| number.checked_mul(1 << shift));
    size.filter(|size| size.is_power_of_two() && (page..=1 << 30).contains(size)).ok_or(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::filter::Address;
    use crate::sock::leak::Verdict;
    use crate::sock::state::StateSet;

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("4MiB"), Ok(4 << 20));
        assert_eq!(ring_size("64k"), Ok(64 << 10));
        assert_eq!(ring_size("1048576"), Ok(1 << 20));
        for bad in ["", "3MiB", "1k", "100", "4TiB", "8GiB", "-4096", "4 MiB"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn budgets() {
        for (text, thousandths) in
            [("1%", 10), ("1", 10), ("0.1%", 1), ("2.5%", 25), ("100%", 1000)]
        {
            assert_eq!(budget(text).ok(), Budget::new(thousandths), "{text}");
        }
        for bad in
            ["", "%", "0%", "0.0", "0.05%", "100.1%", "101", "-1%", "+1", "1%%", "1 %", ".5", "1."]
        {
            assert!(budget(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("36500d"), Ok(LONGEST));
        for long in [
            "36501d",
            "18446744073709551615s",
            "18446744073709551615",
            "99999999999999999999",
            "1000000y",
        ] {
            assert_eq!(duration(long), Err("give at most 36500d".into()), "{long}");
        }
        for bad in ["", "soon", "-5", "-5s", "5 parsecs", "1e9s", "s", "0x10", "５s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(interval("1ms"), Ok(SHORTEST_INTERVAL));
        for short in ["0", "0s", "1us", "999999ns"] {
            assert_eq!(interval(short), Err("give at least 1ms".into()), "{short}");
        }
    }

    /// Any string that a shell can pass on, and strings that look nearly right.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[-+]?[0-9]{0,24} ?(ns|us|ms|s|sec|m|min|h|d|w|M|y|k|KiB|MiB|GiB|TiB|B)?( ?[0-9]{1,20}[a-z]{0,3})?",
            r"\[?[0-9a-f:.]{0,40}\]?(/[0-9]{0,4})?(:[0-9]{0,7})?",
            "[a-zA-Z_-]{0,16}[0-9]?",
        ]
    }

    proptest! {
        /// No parser panics; what passes is within its bounds; what does not is told what to give.
        #[test]
        fn every_parser_takes_anything(text in text()) {
            for parsed in [duration(&text), interval(&text)] {
                match parsed {
                    Ok(duration) => {
                        prop_assert!(duration <= LONGEST);
                        let now = std::time::Instant::now();
                        prop_assert!(now.checked_add(duration).is_some());
                    }
                    Err(why) => prop_assert!(why.starts_with("give "), "{why}"),
                }
            }
            if let Ok(interval) = interval(&text) {
                prop_assert!(interval >= SHORTEST_INTERVAL);
            }
            if let Ok(size) = ring_size(&text) {
                prop_assert!(size.is_power_of_two() && (4096..=1 << 30).contains(&size));
            }
            if let Ok(size) = table_size(&text) {
                prop_assert!((16..=1 << 24).contains(&size));
            }
            if let Ok(port) = port(&text) {
                prop_assert_eq!(port.to_string(), text.trim_start_matches(['+', '0']));
            }
            if let Err(why) = budget(&text) {
                prop_assert!(why.starts_with("give "), "{why}");
            }
            prop_assert!(count(&text) != Ok(0));
            if let Err(why) = number(&text) {
                prop_assert!(why.starts_with("give "), "{why}");
            }
            if let Ok(uid) = uid(&text) {
                prop_assert_eq!(Some(uid), text.parse().ok());
            }
            if let Ok(pid) = pid(&text) {
                prop_assert!(pid > 0);
            }
            prop_assert_eq!(name(&text).is_ok(), !text.is_empty());
            let path_or_inode = network_namespace(&text);
            prop_assert!(path_or_inode.is_ok() || text.parse::<u32>().is_err());
            if let Ok(states) = text.parse::<StateSet>() {
                prop_assert!(!states.is_empty());
            }
            let _ = text.parse::<Address>();
            if let Ok(verdict) = text.parse::<Verdict>() {
                prop_assert_eq!(verdict.name(), text);
            }
        }

        /// Any length in range passes, in each of its spellings.
        #[test]
        fn durations_mean_what_they_say(seconds in 1_u64..=LONGEST.as_secs()) {
            let wanted = Duration::from_secs(seconds);
            prop_assert_eq!(duration(&seconds.to_string()), Ok(wanted));
            prop_assert_eq!(duration(&format!("{seconds}s")), Ok(wanted));
            prop_assert_eq!(duration(&humantime::format_duration(wanted).to_string()), Ok(wanted));
        }
    }
}
