//! Metrics for Prometheus, of one report: text format 0.0.4, which promtool and node_exporter's
//! textfile collector read. (They refuse OpenMetrics.)
//!
//! A host has at most `MOST_SERIES` series, however many processes leak: labels name programs,
//! units and containers, and never a PID, a descriptor or an address. What is not known has no
//! series: 0 means none.

mod groups;

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use self::groups::{Group, Id, Listener};
use crate::live::health::Incomplete;
use crate::report::Report;
use crate::report::row::UNKNOWN_VERDICT;
use crate::sock::leak::{Class, Verdict};

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// No report has more series, so that a thousand hosts cannot flood a server.
const MOST_SERIES: usize = 500;
/// The accept queues that are fullest have series of their own.
const MOST_QUEUES: usize = 60;

/// Writes the metrics of a report: those of the `top` groups of processes that leak most, and of all
/// others together. `kernel` is the release of the kernel.
///
/// # Errors
/// Where `out` does not take them.
pub fn render(
    report: &Report<'_>,
    top: usize,
    kernel: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut families = of_host(report, kernel);
    // One place is for the number of those dropped.
    let room = MOST_SERIES - 1 - count(&families);
    let mut detail = of_processes(&groups::groups(report, top));
    detail.extend(of_queues(&groups::fullest(report, MOST_QUEUES)));
    let dropped = keep_first(&mut detail, room);
    families.extend(detail);
    families.push(gauge(
        "sockleak_series_dropped",
        "Series that the limit of a report left out.",
        [(vec![], dropped as f64)],
    ));
    // The format has no family without a sample.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode(&families, out).map_err(io::Error::other)
}

/// Metrics without a process.
fn of_host(report: &Report<'_>, kernel: &str) -> Vec<MetricFamily> {
    let of_class = |class| Verdict::ALL.into_iter().filter(move |verdict| verdict.class() == class);
    let named = |verdict: &str| vec![label("verdict", verdict)];
    let leaked = report.leaked_by_verdict();
    let leaked_as = |verdict: &str| leaked.get(verdict).copied().unwrap_or(0) as f64;
    let stranded = |verdict| report.stranded.get(&verdict).copied().unwrap_or(0) as f64;
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let made = report.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // There is no place for a sentence beside a count that lacks leaks of unknown age.
    let undated = (report.undated > 0).then_some(Incomplete::AgeUnknown(report.undated));
    let reasons = report.incomplete.iter().chain(&undated);
    let mut reasons: Vec<_> = reasons.map(Incomplete::reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    vec![
        gauge(
            "sockleak_leaked_sockets",
            "Leaked TCP sockets of this host; a socket that two processes hold counts once.",
            of_class(Class::Leaked)
                .map(Verdict::name)
                .chain([UNKNOWN_VERDICT])
                .map(|verdict| (named(verdict), leaked_as(verdict))),
        ),
        gauge(
            "sockleak_stranded_sockets",
            "TCP sockets whose connection is not over, but stands still.",
            of_class(Class::Stranded).map(|verdict| (named(verdict.name()), stranded(verdict))),
        ),
        gauge(
            "sockleak_report_incomplete",
            "1 for each reason why something may be missing; absent while the report is complete.",
            reasons.into_iter().map(|reason| (vec![label("reason", reason)], 1.0)),
        ),
        gauge(
            "sockleak_report_timestamp_seconds",
            "When this report was made.",
            [(vec![], made.as_secs_f64())],
        ),
        gauge(
            "sockleak_scan_age_seconds",
            "How old the last scan was when this report was made.",
            report.scanned_ago.map(|ns| (vec![], seconds(ns))),
        ),
        gauge(
            "sockleak_scan_duration_seconds",
            "How long the last scan took.",
            (report.scans.total > 0).then(|| (vec![], report.scans.duration.as_secs_f64())),
        ),
        counter(
            "sockleak_lost_events_total",
            "Events that the kernel did not hand over.",
            report.lost_events as f64,
        ),
        counter("sockleak_scans_total", "Scans of all open files.", report.scans.total as f64),
        counter(
            "sockleak_scan_cpu_seconds_total",
            "CPU time that scans took.",
            report.scans.cpu.as_secs_f64(),
        ),
        gauge(
            "sockleak_build_info",
            "1; the labels name this sockleak and its kernel.",
            [(vec![label("version", env!("CARGO_PKG_VERSION")), label("kernel", kernel)], 1.0)],
        ),
    ]
}

/// Metrics of groups of processes, the most important first: a limit drops the others.
fn of_processes(groups: &[Group]) -> Vec<MetricFamily> {
    let leaked = groups.iter().flat_map(|group| {
        group.leaked.iter().map(|(verdict, &sockets)| {
            let mut labels = labels(&group.id);
            labels.push(label("verdict", verdict));
            (labels, sockets as f64)
        })
    });
    let of = |value: fn(&Group) -> Option<f64>| {
        groups.iter().filter_map(move |group| Some((labels(&group.id), value(group)?)))
    };
    vec![
        gauge(
            "sockleak_process_leaked_sockets",
            "Leaked sockets of processes with the same labels; all but the worst are \"(other)\".",
            leaked,
        ),
        gauge(
            "sockleak_process_fd_exhaustion_seconds",
            "Time until the first of these processes is out of descriptors at its present rate; \
             absent where no growth is proven.",
            of(|group| group.exhausted_in),
        ),
        gauge(
            "sockleak_process_fd_usage_ratio",
            "Open descriptors by their limit, of the process that is closest to it.",
            of(|group| group.fd_usage),
        ),
        gauge(
            "sockleak_process_oldest_leak_age_seconds",
            "Age of the oldest leak, at least.",
            of(|group| group.oldest),
        ),
    ]
}

fn of_queues(listeners: &[Listener]) -> Vec<MetricFamily> {
    let of = |value: fn(&Listener) -> u32| {
        listeners.iter().map(move |listener| {
            let mut labels = labels(&listener.id);
            labels.push(label("port", &listener.port.to_string()));
            (labels, f64::from(value(listener)))
        })
    };
    vec![
        gauge(
            "sockleak_listener_accept_queue_length",
            "Connections that wait to be accepted: of listeners with the same labels, the fullest.",
            of(|listener| listener.length),
        ),
        gauge(
            "sockleak_listener_accept_queue_limit",
            "Connections that may wait to be accepted there.",
            of(|listener| listener.limit),
        ),
    ]
}

/// Keeps so many series, and says how many it dropped.
fn keep_first(families: &mut [MetricFamily], mut room: usize) -> usize {
    let mut dropped = 0;
    for family in families {
        let series = family.mut_metric();
        dropped += series.len().saturating_sub(room);
        series.truncate(room);
        room -= series.len();
    }
    dropped
}

fn count(families: &[MetricFamily]) -> usize {
    families.iter().map(|family| family.get_metric().len()).sum()
}

/// Labels, and the value that they name.
type Sample = (Vec<LabelPair>, f64);

fn gauge(name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) -> MetricFamily {
    let series = samples.into_iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, series.collect())
}

fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, vec![metric])
}

fn family(name: &str, help: &str, kind: MetricType, series: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series);
    family
}

fn labels(id: &Id) -> Vec<LabelPair> {
    id.labels().map(|(name, value)| label(name, value)).collect()
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests;
