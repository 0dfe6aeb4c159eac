//! `sockleak watch`: a report each interval, until a signal.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;

use super::asked::{self, Asked};
use super::output::{note, reader_has_gone, say_what_is_out_of_sight, say_why_incomplete, show};
use crate::cli::{Format, ReportArgs, value};
use crate::exit::Exit;
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::host::stop::Stop;
use crate::live::schedule::Budget;
use crate::probe::Probe;
use crate::report::Report;
use crate::report::trend::Trend;
use crate::view::text;

/// The options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Report this often
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = value::interval)]
    pub(super) interval: Duration,
    /// How much of one core scans may use, on average
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = value::budget)]
    pub(super) scan_budget: Budget,
    /// Options of the report.
    #[command(flatten)]
    pub(super) report: ReportArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        let mut query = args.query();
        let mut asked = Asked::new(&query.filter);
        let mut identities = Identities::new(args.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let mut monitor = Probe::monitor(&args.config(true), args.rules())?;
        monitor.expect_rings(with_rings);
        monitor.set_budget(self.scan_budget);
        let stop = Stop::on_signals()?;
        let mut trend = Trend::default();
        let mut footer = None;
        let mut limit_is_said = false;
        let mut stopped = monitor.begin(stop.as_fd())?;
        // They may yet come.
        let (table, namespaces) = (monitor.table(), monitor.namespaces());
        let nobody = asked::nobody(&query.filter, table, namespaces, &mut identities);
        asked::no_processes(&args.pid).iter().chain(&nobody).for_each(note);
        loop {
            let now = Moment::now();
            let table = monitor.table();
            asked.update(&mut query.filter, table, &mut identities);
            let peers = query.peers(table);
            let mut report = Report::build(table, &query, peers.as_ref(), now, monitor.health());
            report.add_trend(&mut trend, now.ktime);
            report.add_identities(&mut identities);
            let exit = Exit::from(&report);
            stop.set_code(exit as u8);
            let shown = show(&report, args, Some(self.interval));
            say_why_incomplete(&report, args);
            if args.format.get() == Format::Text {
                let line = text::footer(&report);
                if line != footer {
                    note(line.as_deref().unwrap_or("nothing is stranded any more"));
                    footer = line;
                }
            }
            limit_is_said = limit_is_said || say_what_is_out_of_sight(&report, &asked);
            if reader_has_gone(shown)? {
                return Ok(Exit::Clean);
            }
            if stopped {
                return Ok(exit);
            }
            stopped = monitor.follow(stop.as_fd(), self.interval)?;
            monitor.refresh()?;
        }
    }
}
