//! `sockleak watch`: a report each interval, until a signal.

use std::os::fd::AsFd;

use anyhow::Result;

use super::asked::{self, Asked};
use super::live::Live;
use super::output::{has_no_metrics, note, out_of_sight, reader_has_gone};
use crate::cli::{HOW, PaceArgs, ReportArgs, value};
use crate::exit::Exit;
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::host::stop::Stop;
use crate::host::terminal::Resumed;
use crate::probe::Probe;
use crate::report::Report;
use crate::report::trend::Trend;

/// The options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Options of the report.
    #[command(flatten)]
    pub(super) report: ReportArgs,
    /// How often, and at what cost.
    #[command(flatten)]
    pub(super) pace: PaceArgs,
    /// End after so many reports
    #[arg(long, value_name = "N", value_parser = value::count, help_heading = HOW)]
    pub(super) count: Option<usize>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        if has_no_metrics(&args.format) {
            return Ok(Exit::Usage);
        }
        let mut query = args.query();
        if let Some(wrong) = args.contradiction() {
            note(wrong);
            return Ok(Exit::Usage);
        }
        let resumed = Resumed::notice()?;
        let mut asked = Asked::repeated(&query.filter);
        let mut identities = Identities::new(args.whose.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let mut monitor = Probe::monitor(&args.config(true), args.rules())?;
        monitor.expect_rings(with_rings);
        monitor.set_budget(self.pace.scan_budget);
        let stop = Stop::on_signals()?;
        let mut trend = Trend::default();
        let mut live = Live::new(args, self.pace.interval, resumed);
        let mut limit_is_said = false;
        let mut stopped = monitor.begin(stop.as_fd())?;
        // They may yet come.
        let (table, namespaces) = (monitor.table(), monitor.namespaces());
        let nobody = asked::nobody(&query.filter, table, namespaces, &mut identities);
        asked::no_processes(&args.who.pid).iter().chain(&nobody).for_each(note);
        let mut left = self.count.unwrap_or(usize::MAX);
        loop {
            let now = Moment::now();
            let table = monitor.table();
            asked.update(&mut query.filter, table, &mut identities);
            let peers = query.peers(table);
            let mut report = Report::build(table, &query, peers.as_ref(), now, monitor.health());
            report.add_trend(&mut trend, now.ktime);
            report.add_identities(&mut identities);
            let exit = Exit::from(&report);
            stop.set_code(exit.code());
            if !limit_is_said && let Some(limit) = out_of_sight(&report, &asked) {
                live.note(&limit);
                limit_is_said = true;
            }
            if reader_has_gone(live.show(&report))? {
                return Ok(Exit::Clean);
            }
            left -= 1;
            if stopped || left == 0 {
                return Ok(exit);
            }
            stopped = monitor.follow(stop.as_fd(), self.pace.interval)?;
            monitor.refresh()?;
        }
    }
}
