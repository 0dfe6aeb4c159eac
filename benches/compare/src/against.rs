//! Two sockleaks, run in turn in the same workloads: does a change of the code pay?

use std::path::Path;

use anyhow::{Result, bail};

use crate::list::{self, FEW, HEALTHY, Lister, Rounds, SMALL};
use crate::live;
use crate::options::{Options, Part};
use crate::results::AgainstRow;
use crate::scene::{Leaks, Scene};
use crate::summary::Summary;

/// Leaked sockets, of which `list` has to print all.
const MANY: usize = 100_000;

pub(crate) fn run(scene: &Scene, options: &Options, other: &Path) -> Result<Vec<AgainstRow>> {
    let listers = [Lister::sockleak(&options.sockleak), Lister::sockleak(other)];
    let (many_runs, few_runs) = if options.quick { (11, 5) } else { (41, 15) };
    let mut rows = Vec::new();
    let mut list = |what: String, leaks: &Leaks, runs| -> Result<()> {
        rows.extend(list_rows(&what, leaks, &listers, runs)?);
        Ok(())
    };
    if options.wants(Part::Small) {
        let leaks = list::leak_in_small_host(scene)?;
        list(format!("list, {SMALL} sockets, small host"), &leaks, many_runs)?;
    }
    if options.wants(Part::List) {
        let _crowd = scene.crowd()?;
        for (sockets, runs) in [(FEW, many_runs), (MANY, few_runs)] {
            eprintln!("list: {sockets} sockets");
            let leaks = scene.leak(sockets, 1)?;
            list(format!("list, {sockets} sockets"), &leaks, runs)?;
        }
    }
    if options.wants(Part::Healthy) {
        let (_connections, leaks) = list::leak_beside_healthy(scene)?;
        list(format!("list, {FEW} sockets beside {HEALTHY} connections"), &leaks, few_runs)?;
    }
    if options.wants(Part::Churn) {
        rows.extend(churn_rows(options, other)?);
    }
    Ok(rows)
}

fn list_rows(
    what: &str,
    leaks: &Leaks,
    listers: &[Lister; 2],
    runs: usize,
) -> Result<[AgainstRow; 2]> {
    let runs = list::measure(leaks, listers, Rounds { fast: runs, slow: runs })?;
    if let Some(words) = runs.iter().find_map(list::Runs::refused) {
        bail!("{what}: {words}");
    }
    let [this, other] = [&runs[0], &runs[1]];
    let errors = |runs: &list::Runs| Summary::of(vec![runs.errors() as f64]);
    Ok([
        AgainstRow::of(format!("{what}: ms"), this.wall_ms(), other.wall_ms()),
        AgainstRow {
            what: format!("{what}: rows missing or wrong"),
            this: errors(this),
            other: errors(other),
            ratio: None,
        },
    ])
}

fn churn_rows(options: &Options, other: &Path) -> Result<[AgainstRow; 5]> {
    let [this, other] = live::churn_against(options, other)?;
    for row in [&this, &other] {
        if let Some(words) = &row.refused {
            bail!("{}: {words}", row.tool);
        }
    }
    let readings = |summary: &Option<Summary>| {
        summary.as_ref().map_or_else(Vec::new, |summary| summary.readings.clone())
    };
    let lost =
        |events: Option<u64>| Summary::of(events.map(|lost| lost as f64).into_iter().collect());
    Ok([
        AgainstRow::of(
            "churn: connections/s".to_owned(),
            readings(&this.connections_per_second),
            readings(&other.connections_per_second),
        ),
        AgainstRow::of(
            "churn: ns a transition, in the programs".to_owned(),
            readings(&this.ns_per_transition),
            readings(&other.ns_per_transition),
        ),
        AgainstRow {
            what: "churn: throughput lost, %".to_owned(),
            this: this.throughput_lost_percent,
            other: other.throughput_lost_percent,
            ratio: None,
        },
        AgainstRow {
            what: "churn: CPU a connection, added, %".to_owned(),
            this: this.cpu_added_percent,
            other: other.cpu_added_percent,
            ratio: None,
        },
        AgainstRow {
            what: "churn: events lost".to_owned(),
            this: lost(this.events_lost),
            other: lost(other.events_lost),
            ratio: None,
        },
    ])
}

impl AgainstRow {
    /// From the readings of both, round by round.
    fn of(what: String, this: Vec<f64>, other: Vec<f64>) -> Self {
        let ratios = this.iter().zip(&other).map(|(this, other)| other / this).collect();
        Self {
            what,
            ratio: Summary::of(ratios),
            this: Summary::of(this),
            other: Summary::of(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = AgainstRow::of("list".to_owned(), vec![10.0, 20.0, 40.0], vec![5.0, 30.0, 40.0]);
        assert_eq!(row.ratio.map(|ratio| ratio.median), Some(1.0));
        assert_eq!(row.other.map(|other| other.median), Some(30.0));
    }
}
