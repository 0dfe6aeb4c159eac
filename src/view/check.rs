//! The answer to Nagios, Icinga and Zabbix: one line with performance data, and a status.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use crate::live::health::Incomplete;
use crate::report::{ProcessRow, Report};
use crate::sock::leak::{Class, Verdict};
use crate::sock::name::sanitised;

/// Processes that a line names.
const MOST_NAMES: usize = 3;

/// Status of a check: the exit code of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing is above a threshold.
    Ok = 0,
    /// Something is.
    Warning = 1,
    /// Something is above the higher one.
    Critical = 2,
    /// The answer is not whole, or there is none.
    Unknown = 3,
}

/// Thresholds of a check: a status is for what is above, or for what ends sooner.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Leaked sockets that are no warning yet.
    pub warning: usize,
    /// Leaked sockets that are not critical yet.
    pub critical: usize,
    /// The time that the descriptors of each process have to last, if that counts.
    pub exhaustion: Option<Duration>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// Judges a report by thresholds. Leaks of unknown age may count or not: where that decides, the
/// status is unknown.
pub fn judge(report: &Report<'_>, thresholds: Thresholds) -> Status {
    let leaked: usize = report.leaked_by_verdict().values().sum();
    let runs_out = thresholds.exhaustion.is_some_and(|least| {
        soonest(report).is_some_and(|(_, seconds)| seconds < least.as_secs_f64())
    });
    let status = |leaked: usize| {
        if leaked > thresholds.critical {
            Status::Critical
        } else if leaked > thresholds.warning || runs_out {
            Status::Warning
        } else {
            Status::Ok
        }
    };
    let least = status(leaked);
    if report.complete && least == status(leaked + report.undated) {
        least
    } else {
        Status::Unknown
    }
}

/// The process that is out of descriptors first, and in how many seconds.
fn soonest<'a>(report: &'a Report<'_>) -> Option<(&'a ProcessRow<'a>, f64)> {
    let known = report.processes.iter();
    let known = known.filter_map(|process| Some((process, process.exhausted_in_seconds?)));
    known.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Writes the line of a report, and in it what else there is to say: `beside`.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(
    report: &Report<'_>,
    thresholds: Thresholds,
    beside: Option<&str>,
    out: &mut impl Write,
) -> io::Result<()> {
    let verdicts = report.leaked_by_verdict();
    let leaked: usize = verdicts.values().sum();
    let mut text = match leaked {
        0 => "nothing leaked".to_owned(),
        1 => "1 leaked socket".to_owned(),
        _ => format!("{leaked} leaked sockets"),
    };
    let names = report.processes.iter().filter(|process| process.rows > 0);
    let worst: Vec<_> = names.clone().take(MOST_NAMES).map(of_process).collect();
    if !worst.is_empty() {
        let more = names.count() - worst.len();
        let more = if more > 0 { format!(", and {more} more processes") } else { String::new() };
        let _ = write!(text, ": {}{more}", worst.join(", "));
    }
    let soonest = soonest(report).filter(|_| thresholds.exhaustion.is_some());
    if let Some((process, seconds)) = soonest {
        // A forecast may be far off, and even infinite.
        let time = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
        let time = humantime::format_duration(time);
        let _ = write!(text, "; {} is out of descriptors in {time}", name(process));
    }
    for reason in &report.incomplete {
        let _ = write!(text, "; incomplete: {reason}");
    }
    if report.undated > 0 {
        let _ = write!(text, "; {}", Incomplete::AgeUnknown(report.undated));
    }
    if let Some(beside) = beside {
        let _ = write!(text, "; {beside}");
    }
    let mut data = format!("leaked={leaked};{};{};0", thresholds.warning, thresholds.critical);
    for verdict in Verdict::ALL.iter().filter(|verdict| verdict.class() == Class::Leaked) {
        let _ = write!(data, " {verdict}={};;;0", verdicts.get(verdict.name()).unwrap_or(&0));
    }
    let _ = write!(data, " stranded={};;;0", report.stranded.values().sum::<usize>());
    if let (Some((_, seconds)), Some(least)) = (soonest, thresholds.exhaustion) {
        let _ = write!(data, " exhaustion={seconds:.0}s;{}:;;0", least.as_secs());
    }
    write_line(judge(report, thresholds), &text, Some(&data), out)
}

/// Writes a line: a status, text, and performance data.
///
/// # Errors
/// Where `out` does not take it.
pub fn write_line(
    status: Status,
    text: &str,
    data: Option<&str>,
    out: &mut impl Write,
) -> io::Result<()> {
    // Performance data begin at the first bar, and a second line is a different thing.
    let text: String = text.chars().map(|c| if "|\n\r".contains(c) { ' ' } else { c }).collect();
    let data = data.map(|data| format!(" | {data}")).unwrap_or_default();
    writeln!(out, "SOCKLEAK {status} - {text}{data}")
}

fn of_process(process: &ProcessRow<'_>) -> String {
    format!("{} in {}", process.rows, name(process))
}

fn name(process: &ProcessRow<'_>) -> String {
    format!("{}[{}]", sanitised(process.comm.unwrap_or("(unknown)")), process.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::health::Health;
    use crate::report::Query;
    use crate::report::filter::Filter;
    use crate::report::tests::{half_shut, held, now, process, query, sock, table};

    const THRESHOLDS: Thresholds = Thresholds { warning: 1, critical: 3, exhaustion: None };
    const NONE: &str =
        "eof-unread=0;;;0 data-unread=0;;;0 never-accepted=0;;;0 reset=0;;;0 dead=0;;;0";

    /// The status and the line for so many leaks of a process, and one stranded socket.
    fn check(
        leaks: u64,
        thresholds: Thresholds,
        incomplete: Vec<Incomplete>,
        exhausted_in: Option<f64>,
    ) -> (Status, String) {
        let mut scan = vec![process(7, "a|b"), held(7, 3, &half_shut(900, 100))];
        scan.extend((0..leaks).map(|place| held(7, 4, &sock(place, 100))));
        let table = table(&[], scan);
        let health = Health { incomplete, ..Health::default() };
        let mut report = Report::build(&table, &query(), None, now(), health);
        report.processes.iter_mut().for_each(|row| row.exhausted_in_seconds = exhausted_in);
        let mut out = Vec::new();
        render(&report, thresholds, None, &mut out).unwrap();
        (judge(&report, thresholds), String::from_utf8(out).unwrap())
    }

    #[test]
    fn thresholds_are_the_last_good_values() {
        let statuses = (0..=4).map(|leaks| check(leaks, THRESHOLDS, vec![], None).0);
        let expected = [Status::Ok, Status::Ok, Status::Warning, Status::Warning, Status::Critical];
        assert_eq!(statuses.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_line_with_performance_data() {
        assert_eq!(
            check(0, THRESHOLDS, vec![], None).1,
            format!(
                "SOCKLEAK OK - nothing leaked | leaked=0;1;3;0 eof-read=0;;;0 {NONE} stranded=1;;;0\n"
            )
        );
        assert_eq!(
            check(2, THRESHOLDS, vec![], None).1,
            format!(
                "SOCKLEAK WARNING - 2 leaked sockets: 2 in a b[7] | leaked=2;1;3;0 eof-read=2;;;0 \
                 {NONE} stranded=1;;;0\n"
            )
        );
    }

    #[test]
    fn an_answer_that_is_not_whole_is_unknown() {
        let (status, line) = check(9, THRESHOLDS, vec![Incomplete::WalkStrayed(1)], None);
        assert_eq!(status, Status::Unknown);
        assert!(line.starts_with("SOCKLEAK UNKNOWN - 9 leaked sockets"), "{line}");
        assert!(line.contains("; incomplete: ") && line.lines().count() == 1, "{line}");
    }

    /// One leak is old enough, and others may be: keepalives renew the stamps of both.
    #[test]
    fn leaks_of_unknown_age_are_never_taken_for_none() {
        let filter = Filter { min_age: Some(Duration::from_secs(61)), ..Filter::default() };
        let query = Query { filter, ..query() };
        for (undated, expected) in [
            (0, Status::Ok),
            // No more than the first threshold in any case.
            (1, Status::Ok),
            (2, Status::Unknown),
            (9, Status::Unknown),
        ] {
            let mut scan = vec![process(7, "shop"), held(7, 3, &sock(0, 100))];
            scan.extend((1..=undated).map(|place| held(7, 4, &sock(place, 60))));
            let table = table(&[], scan);
            let report = Report::build(&table, &query, None, now(), Health::default());
            let thresholds = Thresholds { warning: 2, ..THRESHOLDS };
            assert_eq!(judge(&report, thresholds), expected, "{undated}");
            let mut out = Vec::new();
            render(&report, thresholds, Some("beside"), &mut out).unwrap();
            let line = String::from_utf8(out).unwrap();
            let begin = format!("SOCKLEAK {expected} - 1 leaked socket: 1 in shop[7]");
            assert!(line.starts_with(&begin) && line.contains("; beside | "), "{line}");
            let words = format!("; {undated} leaked sockets may be older");
            assert_eq!(line.contains(&words), undated > 0, "{line}");
        }
    }

    #[test]
    fn descriptors_that_run_out_are_a_warning() {
        let asked = Thresholds { exhaustion: Some(Duration::from_secs(14_400)), ..THRESHOLDS };
        let (status, line) = check(1, asked, vec![], Some(4872.0));
        assert_eq!(status, Status::Warning);
        assert!(line.contains("; a b[7] is out of descriptors in 1h 21m 12s | "), "{line}");
        assert!(line.contains(" exhaustion=4872s;14400:;;0\n"), "{line}");
        assert_eq!(check(1, asked, vec![], Some(20_000.0)).0, Status::Ok);
        assert_eq!(check(1, asked, vec![], Some(f64::INFINITY)).0, Status::Ok);
        assert_eq!(check(1, THRESHOLDS, vec![], Some(1.0)).0, Status::Ok, "nobody asked");
        assert_eq!(check(4, asked, vec![], Some(1.0)).0, Status::Critical);
    }
}
