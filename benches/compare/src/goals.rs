//! Compares the results with the figures that sockleak has to reach.

use crate::list::{COUNTING, HEALTHY, SOCKLEAK, SS, SS_OWNERS};
use crate::live::{IDLE, NOTHING_TWICE, TCPSTATES, WATCH};
use crate::results::{ChurnRow, Goal, ListRow, LoadRow, Results, StandingRow};
use crate::start::RUN_TRUE;

/// Twice the ratio of the version that read sockets in CLOSE_WAIT and CLOSE alone (d104ebd): 0.45.
const HEALTHY_MOST: f64 = 0.9;

/// Goals of the parts that were measured.
pub(crate) fn compare(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    list(&results.list, &mut goals);
    healthy(&results.healthy, &mut goals);
    errors(results, &mut goals);
    churn(&results.churn, &results.standing, &mut goals);
    for row in &results.table {
        if row.unit == "bytes" {
            goals.push(at_most("table, memory of a socket", row.per_socket, 300.0, "bytes"));
        }
    }
    let identities = results.table.iter().find(|row| row.what == "identities/read");
    if let Some(row) = identities {
        let ms = row.per_socket * row.sockets as f64 / 1e6;
        let what = format!("who {} processes are, read for the first time", row.sockets);
        goals.push(at_most(&what, ms, 150.0, "ms"));
    }
    load(&results.load, &mut goals);
    for row in results.export.iter().filter(|row| row.leaked == 0) {
        goals.push(at_most("export while nothing leaks", row.cpu_percent, 0.5, "% of a core"));
    }
    for row in results.start.iter().filter(|row| row.what == WATCH) {
        goals.push(at_most("first report after exec", row.ms.median, 150.0, "ms"));
    }
    for row in results.start.iter().filter(|row| row.what == RUN_TRUE) {
        goals.push(at_most("`run -- true`, in all", row.ms.median, 100.0, "ms"));
    }
    goals
}

fn at_most(what: &str, measured: f64, most: f64, unit: &str) -> Goal {
    Goal {
        what: what.to_owned(),
        reach: format!("at most {} {unit}", short(most)),
        measured: format!("{} {unit}", short(measured)),
        met: measured <= most,
    }
}

fn at_least(what: &str, measured: f64, least: f64, unit: &str) -> Goal {
    Goal {
        what: what.to_owned(),
        reach: format!("at least {} {unit}", short(least)),
        measured: format!("{} {unit}", short(measured)),
        met: measured >= least,
    }
}

/// Two digits or more that say something: `0.045`, `4.5`, `450`.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        0.0 | 100.0.. => 0,
        1.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn list(rows: &[ListRow], goals: &mut Vec<Goal>) {
    let largest = rows.iter().map(|row| row.sockets).max().unwrap_or(0);
    // The worst of all numbers of processes.
    let worst = |tool: &str, pick: fn(f64, f64) -> f64| {
        rows.iter()
            .filter(|row| row.sockets == largest && row.tool == tool)
            .filter_map(|row| row.times_sockleak)
            .reduce(pick)
    };
    // Where system calls are cheap, so is `ss`: the iterator shows how far any BPF tool could come.
    let fastest = worst(COUNTING, f64::max);
    if let Some((times, counting)) = worst(SS_OWNERS, f64::min).zip(fastest) {
        let most = short(times / counting);
        let what =
            format!("list at {largest}, against `{SS_OWNERS}` ({COUNTING}: {most} times faster)");
        goals.push(at_least(&what, times, 30.0, "times faster"));
    }
    if let Some(times) = worst(SS, f64::min) {
        let what = format!("list at {largest}, against `{SS}` (no owners)");
        goals.push(at_least(&what, times, 1.0, "times faster"));
    }
    if let Some(times) = worst(COUNTING, f64::min) {
        let what = format!("list at {largest}, against {COUNTING}");
        goals.push(at_most(&what, 1.0 / times, 2.0, "times its time"));
    }
    if let Some(growth) = growth(rows) {
        let what = "list, time for each further socket: 10 k to 100 k against 1 k to 10 k";
        goals.push(at_most(what, growth, 1.5, "times (linear is 1)"));
    }
}

fn healthy(rows: &[ListRow], goals: &mut Vec<Goal>) {
    let counting = rows.iter().find(|row| row.tool == COUNTING);
    if let Some(times) = counting.and_then(|row| row.times_sockleak) {
        let what = format!("list beside {HEALTHY} healthy connections, against {COUNTING}");
        goals.push(at_most(&what, 1.0 / times, HEALTHY_MOST, "times its time"));
    }
}

/// Wrong rows of `sockleak list` in all workloads.
fn errors(results: &Results, goals: &mut Vec<Goal>) {
    let rows = || results.small.iter().chain(&results.list).chain(&results.healthy);
    let judged = rows().filter(|row| row.tool.starts_with(SOCKLEAK));
    let errors: usize = judged.filter_map(|row| row.verdict).map(|v| v.errors()).sum();
    if rows().next().is_some() {
        goals.push(at_most("list, rows missing or with a wrong owner", errors as f64, 0.0, "rows"));
    }
}

/// Growth of the price of a further socket. It is a ratio of small differences: each is taken
/// between the means of all workloads of one size, whatever the number of processes.
fn growth(rows: &[ListRow]) -> Option<f64> {
    let milliseconds = |sockets: usize| {
        let these = rows.iter().filter(|row| row.sockets == sockets && row.tool == SOCKLEAK);
        let times: Option<Vec<f64>> =
            these.map(|row| row.wall_ms.as_ref().map(|wall| wall.median)).collect();
        times
            .filter(|times| !times.is_empty())
            .map(|times| times.iter().sum::<f64>() / times.len() as f64)
    };
    let (few, some, many) = (milliseconds(1_000)?, milliseconds(10_000)?, milliseconds(100_000)?);
    Some((many - some) / 90.0 / ((some - few) / 9.0))
}

fn churn(rows: &[ChurnRow], standing: &[StandingRow], goals: &mut Vec<Goal>) {
    let find = |tool: &str| rows.iter().find(|row| row.tool == tool);
    let Some(sockleak) = find(WATCH) else { return };
    let lost = |row: &ChurnRow| row.throughput_lost_percent.as_ref().map(|lost| lost.median);
    if let Some((ours, least)) = lost(sockleak).zip(find(NOTHING_TWICE).and_then(lost)) {
        let what = format!("churn, throughput lost ({NOTHING_TWICE}: {} %)", short(least));
        goals.push(at_most(&what, ours, 4.0, "%"));
    }
    if let Some(lost) = sockleak.events_lost {
        let beside_leaks: u64 = standing.iter().filter_map(|row| row.events_lost).sum();
        goals.push(at_most("churn, events lost", (lost + beside_leaks) as f64, 0.0, "events"));
    }
    let net = |row: &ChurnRow| row.net_ns_per_transition;
    if let Some((ours, theirs)) = net(sockleak).zip(find(TCPSTATES).and_then(net)) {
        let what = "churn, time of a transition, against tcpstates";
        goals.push(at_least(what, theirs / ours.max(1.0), 20.0, "times less"));
    }
}

fn load(rows: &[LoadRow], goals: &mut Vec<Goal>) {
    for row in rows {
        let what = |what: &str| format!("`{}` at {} leaks, {what}", row.command, row.leaked);
        if row.leaked == 0 {
            let mib = row.resident_kib as f64 / 1024.0;
            goals.push(at_most(&what("resident"), mib, 10e6 / f64::from(1 << 20), "MiB"));
            let most = if row.command.ends_with(IDLE[0]) { 0.1 } else { 1.0 };
            goals.push(at_most(&what("CPU"), row.cpu_percent, most, "% of a core"));
            continue;
        }
        if let Some(refresh) = &row.refresh_ms {
            goals.push(at_most(&what("a refresh"), refresh.median, 100.0, "ms"));
        }
        goals.push(at_most(&what("CPU"), row.cpu_percent, 15.0, "% of a core"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_no_more_digits_than_say_something() {
        let texts = [0.0, 0.034, 0.456, 2.04, 9.54, 46.3, 200.0, 7037.9].map(short);
        assert_eq!(texts, ["0", "0.034", "0.46", "2", "9.5", "46.3", "200", "7038"]);
    }

    #[test]
    fn a_goal_is_met_at_its_limit() {
        assert!(at_most("", 4.0, 4.0, "%").met && !at_most("", 4.1, 4.0, "%").met);
        assert!(at_least("", 30.0, 30.0, "times").met && !at_least("", 29.9, 30.0, "times").met);
    }
}
