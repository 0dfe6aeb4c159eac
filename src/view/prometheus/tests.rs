//! Metrics of planted tables. (tests/fleet has Prometheus's own tools read what the program writes.)

use std::collections::BTreeMap;

use super::*;
use crate::live::health::{Health, Incomplete, Scans};
use crate::live::table::Table;
use crate::report::Query;
use crate::report::tests::{
    NOW, SECOND, half_shut, held, now, process, query, queued, report, running, sock, table,
};
use crate::sock::conn::{Conn, SockPtr};
use crate::sock::event::{Holder, Listener, Process, Record, Sock};

fn written(report: &Report<'_>, top: usize) -> String {
    let mut out = Vec::new();
    render(report, top, "6.1.0", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every sample: its series, and its value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let sample = |line: &&str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    let samples: BTreeMap<_, _> = lines.iter().map(sample).collect();
    assert_eq!(samples.len(), lines.len(), "a series occurs twice");
    samples
}

fn of<'a>(samples: &'a BTreeMap<String, f64>, metric: &str) -> Vec<(&'a str, f64)> {
    let begin = format!("{metric}{{");
    let of_metric = samples.iter().filter(|(series, _)| series.starts_with(&begin));
    of_metric.map(|(series, &value)| (series.as_str(), value)).collect()
}

fn sum(samples: &BTreeMap<String, f64>, metric: &str) -> f64 {
    of(samples, metric).iter().map(|(_, value)| value).sum()
}

/// An id of a program without a unit.
fn id(comm: &str) -> String {
    format!(r#"comm="{comm}",unit="",namespace="",pod="",container="",container_id="""#)
}

#[test]
fn a_whole_report() {
    let unread = Sock { unread: 6, ..sock(2, 200) };
    let mut scan = vec![process(7, "shop"), held(7, 4, &sock(1, 100)), held(7, 5, &unread)];
    scan.extend([Record::Unheld(sock(3, 70)), held(7, 6, &half_shut(5, 90))]);
    scan.extend(queued(7, 3, &sock(4, 65)));
    let table = table(&[], scan);
    let health = Health {
        incomplete: vec![Incomplete::EventsLost(3), Incomplete::WalkTruncated],
        lost_events: 3,
        scanned: NOW - SECOND / 2,
        scans: Scans {
            total: 12,
            duration: Duration::from_micros(2_500),
            cpu: Duration::from_millis(40),
        },
    };
    let mut report = Report::build(&table, &query(), None, now(), health);
    report.processes[0].exhausted_in_seconds = Some(4872.5);
    let text = written(&report, 30);
    let without_help: Vec<_> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
    let expected = r#"# TYPE sockleak_leaked_sockets gauge
sockleak_leaked_sockets{verdict="eof-read"} 2
sockleak_leaked_sockets{verdict="eof-unread"} 0
sockleak_leaked_sockets{verdict="data-unread"} 1
sockleak_leaked_sockets{verdict="never-accepted"} 1
sockleak_leaked_sockets{verdict="reset"} 0
sockleak_leaked_sockets{verdict="dead"} 0
sockleak_leaked_sockets{verdict="unknown"} 0
# TYPE sockleak_stranded_sockets gauge
sockleak_stranded_sockets{verdict="unsent"} 0
sockleak_stranded_sockets{verdict="relayed"} 0
sockleak_stranded_sockets{verdict="half-shut"} 1
sockleak_stranded_sockets{verdict="stalled"} 0
sockleak_stranded_sockets{verdict="unanswered"} 0
sockleak_stranded_sockets{verdict="unaccepted"} 0
sockleak_stranded_sockets{verdict="connect-failed"} 0
sockleak_stranded_sockets{verdict="unconnected"} 0
# TYPE sockleak_report_incomplete gauge
sockleak_report_incomplete{reason="events-lost"} 1
sockleak_report_incomplete{reason="walk-truncated"} 1
# TYPE sockleak_report_timestamp_seconds gauge
sockleak_report_timestamp_seconds 1795403400.123
# TYPE sockleak_scan_age_seconds gauge
sockleak_scan_age_seconds 0.5
# TYPE sockleak_scan_duration_seconds gauge
sockleak_scan_duration_seconds 0.0025
# TYPE sockleak_lost_events_total counter
sockleak_lost_events_total 3
# TYPE sockleak_scans_total counter
sockleak_scans_total 12
# TYPE sockleak_scan_cpu_seconds_total counter
sockleak_scan_cpu_seconds_total 0.04
# TYPE sockleak_build_info gauge
sockleak_build_info{version="VERSION",kernel="6.1.0"} 1
# TYPE sockleak_process_leaked_sockets gauge
sockleak_process_leaked_sockets{SHOP,verdict="data-unread"} 1
sockleak_process_leaked_sockets{SHOP,verdict="eof-read"} 1
sockleak_process_leaked_sockets{SHOP,verdict="never-accepted"} 1
sockleak_process_leaked_sockets{UNKNOWN,verdict="eof-read"} 1
# TYPE sockleak_process_fd_exhaustion_seconds gauge
sockleak_process_fd_exhaustion_seconds{SHOP} 4872.5
# TYPE sockleak_process_fd_usage_ratio gauge
sockleak_process_fd_usage_ratio{SHOP} 0.0087890625
# TYPE sockleak_process_oldest_leak_age_seconds gauge
sockleak_process_oldest_leak_age_seconds{SHOP} 200
sockleak_process_oldest_leak_age_seconds{UNKNOWN} 70
# TYPE sockleak_listener_accept_queue_length gauge
sockleak_listener_accept_queue_length{SHOP,port="9005"} 128
# TYPE sockleak_listener_accept_queue_limit gauge
sockleak_listener_accept_queue_limit{SHOP,port="9005"} 128
# TYPE sockleak_series_dropped gauge
sockleak_series_dropped 0"#;
    let expected = expected
        .replace("SHOP", &id("shop"))
        .replace("UNKNOWN", &id("(unknown)"))
        .replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(without_help.join("\n"), expected);
    assert_eq!(text.matches("# HELP").count(), text.matches("# TYPE").count());
}

/// Unknown values have no series: no rate, no scan, no limit, no reason.
#[test]
fn the_unknown_is_absent() {
    let unlimited = Process { fd_limit: 0, ..running() };
    let scan = [Record::Process(7, unlimited), held(7, 4, &sock(1, 100))];
    let text = written(&report(&table(&[], scan)), 30);
    for absent in ["exhaustion", "usage_ratio", "scan_age", "scan_duration", "incomplete", "queue"]
    {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
}

/// Leaks that may be older than was asked for are missing, also where others are counted.
#[test]
fn leaks_of_unknown_age_make_a_report_incomplete() {
    let scan = [process(7, "shop"), held(7, 4, &sock(1, 100)), held(7, 5, &sock(2, 60))];
    let table = table(&[], scan);
    for (seconds, leaked, incomplete) in [(60, 2.0, vec![]), (61, 1.0, vec![1.0])] {
        let mut query = query();
        query.filter.min_age = Some(Duration::from_secs(seconds));
        let report = Report::build(&table, &query, None, now(), Health::default());
        let samples = samples(&written(&report, 30));
        assert_eq!(sum(&samples, "sockleak_leaked_sockets"), leaked);
        let reasons = of(&samples, "sockleak_report_incomplete").into_iter();
        assert_eq!(reasons.map(|(_, value)| value).collect::<Vec<_>>(), incomplete);
    }
}

fn many(count: u32) -> Table {
    let leaks = (1..=count).flat_map(|pid| {
        // Processes with higher numbers leak a second kind.
        let place = u64::from(pid) * 2;
        let second = Sock { unread: 9, ..sock(place + 1, 90) };
        let second = (pid > count / 2).then(|| held(pid, 5, &second));
        [process(pid, &format!("job-{pid}")), held(pid, 4, &sock(place, 60 + pid % 1_000))]
            .into_iter()
            .chain(second)
    });
    table(&[], leaks)
}

#[test]
fn ten_thousand_names_are_few_series_and_their_sums_are_right() {
    let table = many(10_000);
    let samples = samples(&written(&report(&table), 30));
    assert!(samples.len() <= MOST_SERIES, "{}", samples.len());
    assert_eq!(sum(&samples, "sockleak_leaked_sockets"), 15_000.0);
    assert_eq!(sum(&samples, "sockleak_process_leaked_sockets"), 15_000.0);
    assert_eq!(samples["sockleak_series_dropped"], 0.0);
    let other =
        format!("sockleak_process_leaked_sockets{{{},verdict=\"eof-read\"}}", id("(other)"));
    assert_eq!(samples[&other], 9_970.0);
    let age = format!("sockleak_process_oldest_leak_age_seconds{{{}}}", id("(other)"));
    assert_eq!(samples[&age], 1_059.0);
}

/// The groups that leak least are dropped first, and "(other)" never is.
#[test]
fn a_limit_holds_whatever_was_asked_for() {
    let table = many(10_000);
    let text = written(&report(&table), 2_000);
    let samples = samples(&text);
    assert_eq!(samples.len(), MOST_SERIES);
    // Each of the 2,000 leaks two kinds; ages and descriptors are two series more.
    let wanted = 2_000 * 4 + 2 + 2;
    let fixed = 7 + 8 + 1 + 3 + 1 + 1;
    assert_eq!(samples["sockleak_series_dropped"], f64::from(wanted + fixed - 500));
    assert!(text.contains("comm=\"(other)\""));
    assert_eq!(sum(&samples, "sockleak_leaked_sockets"), 15_000.0);
}

/// Names that other programs chose: no two series are the same, and each line is one sample.
#[test]
fn names_do_no_harm() {
    let names = [
        "quo\"te",
        "back\\slash",
        "new\nline",
        "new\rline",
        "tab\t",
        "\u{fffd}",
        "",
        "(other)",
        "(unknown)",
        "a} 1",
        "# TYPE x",
        "\u{202e}rtl",
    ];
    let scan = (1..)
        .zip(names)
        .flat_map(|(pid, name)| [process(pid, name), held(pid, 4, &sock(u64::from(pid), 100))]);
    let scan: Vec<_> = scan.chain([Record::Unheld(sock(50, 70))]).collect();
    let table = table(&[], scan);
    for top in [0, 1, 5, 30] {
        let text = written(&report(&table), top);
        let samples = samples(&text);
        assert_eq!(sum(&samples, "sockleak_process_leaked_sockets"), 13.0, "{top}: {text}");
    }
    let text = written(&report(&table), 30);
    assert!(text.contains(r#"comm="quo\"te""#) && text.contains(r#"comm="back\\slash""#));
    assert!(text.contains("comm=\"new\u{fffd}line\""), "both are the same harmless name");
}

#[test]
fn a_socket_that_several_hold_counts_once_in_each_group() {
    let shared = sock(1, 100);
    let holders = [(7, "worker"), (8, "worker"), (9, "master"), (10, "helper")];
    let scan =
        holders.into_iter().flat_map(|(pid, name)| [process(pid, name), held(pid, 4, &shared)]);
    let table = table(&[], scan);
    for (top, groups) in [(30, 3.0), (1, 2.0), (0, 1.0)] {
        let samples = samples(&written(&report(&table), top));
        assert_eq!(sum(&samples, "sockleak_leaked_sockets"), 1.0);
        assert_eq!(sum(&samples, "sockleak_process_leaked_sockets"), groups, "top {top}");
    }
}

fn listener(place: u64, port: u16, pid: u32, backlog: u32, max_backlog: u32) -> Record {
    let mut conn: Conn = sock(0, 0).conn;
    conn.local.port = port;
    let listener = Listener { sock: SockPtr(place), conn, backlog, max_backlog };
    Record::Listener(Holder::at(pid, 3), listener)
}

#[test]
fn of_listeners_the_fullest_are_shown_whatever_waits() {
    let mut scan = vec![process(7, "shop"), process(8, "late")];
    // Two workers that share a port, and one that lets nothing wait.
    scan.extend([listener(1, 80, 7, 5, 100), listener(2, 80, 7, 60, 128)]);
    scan.extend([listener(3, 80, 8, 1, 0), listener(4, 81, 7, 1, 4_096)]);
    let table = table(&[], scan);
    let samples_of = |query: &Query| {
        let report = Report::build(&table, query, None, now(), Health::default());
        samples(&written(&report, 30))
    };
    let samples = samples_of(&query());
    let (shop, late) = (id("shop"), id("late"));
    let series = |id: &str, port: u16| {
        format!("sockleak_listener_accept_queue_length{{{id},port=\"{port}\"}}")
    };
    assert_eq!(
        of(&samples, "sockleak_listener_accept_queue_length"),
        [(&*series(&late, 80), 1.0), (&*series(&shop, 80), 60.0), (&*series(&shop, 81), 1.0)]
    );
    assert_eq!(sum(&samples, "sockleak_listener_accept_queue_limit"), 128.0 + 4_096.0);
    let mut other = query();
    other.filter.port = vec![81];
    assert_eq!(sum(&samples_of(&other), "sockleak_listener_accept_queue_length"), 1.0);
    other.filter.port = vec![];
    other.filter.comm = vec!["late".to_owned()];
    assert_eq!(sum(&samples_of(&other), "sockleak_listener_accept_queue_limit"), 0.0);
    other.filter.comm = vec![];
    other.filter.not = vec!["port=80".parse().unwrap(), "verdict=reset".parse().unwrap()];
    assert_eq!(sum(&samples_of(&other), "sockleak_listener_accept_queue_length"), 1.0);
}

#[test]
fn sixty_listeners_are_enough() {
    let names = (1..=100_u32).map(|pid| process(pid, "shop"));
    let queues =
        (1..=100_u16).map(|n| listener(u64::from(n), 1_000 + n, u32::from(n), u32::from(n), 200));
    let table = table(&[], names.chain(queues));
    let samples = samples(&written(&report(&table), 30));
    let lengths = of(&samples, "sockleak_listener_accept_queue_length");
    assert_eq!(lengths.len(), MOST_QUEUES);
    assert!(lengths.iter().all(|&(_, length)| length > 40.0), "{lengths:?}");
}
