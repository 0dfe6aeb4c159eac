//! The columns of each table.

use super::Table;
use crate::results::{
    AgainstRow, ChurnRow, ExportRow, ListRow, LoadRow, Results, StandingRow, TableRow, TimeRow,
};
use crate::summary::Summary;
use crate::truth::Verdict;

/// All tables. Those of parts that were not measured are empty.
pub(super) fn all(results: &Results) -> Vec<Table> {
    vec![
        host(results),
        list("small", &results.small),
        phases(&results.phases),
        list("list", &results.list),
        list("healthy", &results.healthy),
        churn(&results.churn),
        standing(&results.standing),
        load(&results.load),
        export(&results.export),
        start(&results.start),
        table(&results.table),
        against(&results.against),
        goals(results),
    ]
}

fn host(results: &Results) -> Table {
    let host = &results.host;
    let mut rows = vec![
        ("date", host.date.clone()),
        ("sockleak's revision", host.revision.clone()),
        ("kernel", host.kernel.clone()),
        ("CPU", format!("{} × {}", host.cpus, host.cpu)),
        ("memory", format!("{} GiB", host.memory_gib)),
        ("descriptors a process may have", host.descriptors_per_process.to_string()),
        ("load average before the run", host.load_average.clone()),
        ("processes before the run", host.processes.to_string()),
        ("leaked sockets before the run", host.leaked_before.to_string()),
    ];
    if host.quick {
        rows.push(("mode", "quick: few repetitions, not for publishing".to_owned()));
    }
    let versions = host.versions.iter().map(|(name, version)| (name.as_str(), version.clone()));
    rows.extend(versions);
    Table {
        name: "host",
        head: vec!["what", "value"],
        rows: rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect(),
    }
}

fn list(name: &'static str, rows: &[ListRow]) -> Table {
    let row = |row: &ListRow| {
        let mut cells = vec![
            row.sockets.to_string(),
            row.processes.to_string(),
            code(&row.tool, row.refused.as_ref()),
            median(row.wall_ms.as_ref(), 1),
            number(row.times_sockleak, 2),
            median(row.cpu_ms.as_ref(), 1),
            number(row.peak_kib.map(|kib| kib as f64 / 1024.0), 1),
        ];
        cells.extend(judged(row.verdict.as_ref()));
        cells
    };
    Table {
        name,
        head: vec![
            "sockets",
            "processes",
            "tool",
            "time ms",
            "× sockleak",
            "CPU ms",
            "peak MiB",
            "found",
            "wrong owner",
        ],
        rows: rows.iter().map(row).collect(),
    }
}

fn churn(rows: &[ChurnRow]) -> Table {
    let row = |row: &ChurnRow| {
        vec![
            code(&row.tool, row.refused.as_ref()),
            median(row.connections_per_second.as_ref(), 0),
            with_error(row.throughput_lost_percent.as_ref(), 1),
            with_error(row.cpu_added_percent.as_ref(), 1),
            number(row.tool_cpu_percent, 1),
            median(row.ns_per_transition.as_ref(), 0),
            number(row.net_ns_per_transition, 0),
            number(row.events_lost.map(|lost| lost as f64), 0),
        ]
    };
    Table {
        name: "churn",
        head: vec![
            "tool",
            "connections/s",
            "lost %",
            "CPU a connection, added %",
            "tool's CPU, % of a core",
            "ns a transition",
            "less as many empty programs",
            "events lost",
        ],
        rows: rows.iter().map(row).collect(),
    }
}

fn standing(rows: &[StandingRow]) -> Table {
    let row = |row: &StandingRow| {
        let mut cells = vec![
            code(&row.tool, row.refused.as_ref()),
            format!("{:.1}", row.cpu_percent),
            format!("{:.1}", row.peak_kib as f64 / 1024.0),
            format!("{:.0}", row.connections_per_second),
        ];
        cells.extend(judged(Some(&row.verdict)));
        cells.push(match &row.verdict_after {
            Some(after) => {
                let missing = after.planted - after.found;
                let wrong = after.wrong_owners + after.without_owner;
                format!("{missing} / {wrong} / {}", after.others)
            }
            None => "-".to_owned(),
        });
        cells.push(number(row.events_lost.map(|lost| lost as f64), 0));
        cells
    };
    Table {
        name: "standing",
        head: vec![
            "tool",
            "CPU, % of a core",
            "peak MiB",
            "connections/s",
            "found",
            "wrong owner",
            "after the churn: missing / wrong / left over",
            "events lost",
        ],
        rows: rows.iter().map(row).collect(),
    }
}

fn load(rows: &[LoadRow]) -> Table {
    let row = |row: &LoadRow| {
        vec![
            row.leaked.to_string(),
            format!("`{}`", row.command),
            median(row.refresh_ms.as_ref(), 1),
            format!("{:.2}", row.cpu_percent),
            format!("{:.1}", row.resident_kib as f64 / 1024.0),
        ]
    };
    Table {
        name: "load",
        head: vec!["leaked", "command", "refresh ms", "CPU, % of a core", "resident MiB"],
        rows: rows.iter().map(row).collect(),
    }
}

fn export(rows: &[ExportRow]) -> Table {
    let row = |row: &ExportRow| {
        vec![
            row.leaked.to_string(),
            format!("{:.2}", row.cpu_percent),
            format!("{:.1}", row.resident_kib as f64 / 1024.0),
            row.series.to_string(),
            row.bytes.to_string(),
            median(row.scrape_ms.as_ref(), 2),
        ]
    };
    Table {
        name: "export",
        head: vec!["leaked", "CPU, % of a core", "resident MiB", "series", "bytes", "scrape ms"],
        rows: rows.iter().map(row).collect(),
    }
}

fn start(rows: &[TimeRow]) -> Table {
    let row = |row: &TimeRow| {
        let ms = [row.ms.median, row.ms.min, row.ms.max].map(|ms| format!("{ms:.1}"));
        [row.what.clone()].into_iter().chain(ms).collect()
    };
    Table {
        name: "start",
        head: vec!["what", "median ms", "fastest ms", "slowest ms"],
        rows: rows.iter().map(row).collect(),
    }
}

/// The last row is the sum.
fn phases(rows: &[TimeRow]) -> Table {
    let sum = rows.last().map_or(1.0, |sum| sum.ms.median);
    let row = |row: &TimeRow| {
        let ms = row.ms.median;
        vec![row.what.clone(), format!("{ms:.1}"), format!("{:.0}", ms / sum * 100.0)]
    };
    Table {
        name: "phases",
        head: vec!["what", "median ms", "% of all"],
        rows: rows.iter().map(row).collect(),
    }
}

fn against(rows: &[AgainstRow]) -> Table {
    let row = |row: &AgainstRow| {
        vec![
            row.what.clone(),
            with_error(row.this.as_ref(), 1),
            with_error(row.other.as_ref(), 1),
            with_error(row.ratio.as_ref(), 3),
        ]
    };
    Table {
        name: "against",
        head: vec!["what", "--sockleak", "--against", "other / this"],
        rows: rows.iter().map(row).collect(),
    }
}

fn table(rows: &[TableRow]) -> Table {
    let row = |row: &TableRow| {
        vec![
            row.what.clone(),
            row.sockets.to_string(),
            format!("{:.1} {}", row.per_socket, row.unit),
        ]
    };
    Table {
        name: "table",
        head: vec!["what", "how many", "each"],
        rows: rows.iter().map(row).collect(),
    }
}

fn goals(results: &Results) -> Table {
    let goals = results.goals.iter();
    Table {
        name: "goals",
        head: vec!["what", "reach", "measured", "met"],
        rows: goals
            .map(|goal| {
                let met = if goal.met { "yes" } else { "NO" };
                vec![goal.what.clone(), goal.reach.clone(), goal.measured.clone(), met.to_owned()]
            })
            .collect(),
    }
}

/// A tool's name, with its own words where it did not run.
fn code(tool: &str, refused: Option<&String>) -> String {
    match refused {
        // A bar would end the cell.
        Some(words) => format!("{tool}: refused: {}", words.replace('|', "/")),
        None => tool.to_owned(),
    }
}

fn judged(verdict: Option<&Verdict>) -> [String; 2] {
    match verdict {
        Some(verdict) => [
            format!("{} / {}", verdict.found, verdict.planted),
            match verdict.without_owner == verdict.found {
                true => "names none".to_owned(),
                false => (verdict.wrong_owners + verdict.without_owner).to_string(),
            },
        ],
        None => ["-".to_owned(), "-".to_owned()],
    }
}

fn median(summary: Option<&Summary>, digits: usize) -> String {
    number(summary.map(|summary| summary.median), digits)
}

fn with_error(summary: Option<&Summary>, digits: usize) -> String {
    match summary {
        Some(summary) => format!("{:.digits$} ± {:.digits$}", summary.median, summary.error()),
        None => number(None, digits),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    }
}
