//! `sockleak watch`: a report each interval, until a signal.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;

use super::output::{reader_has_gone, say_why_incomplete, show};
use crate::cli::{ReportArgs, value};
use crate::exit::Exit;
use crate::host::clock::ktime;
use crate::host::stop::Stop;
use crate::live::monitor::Monitor;
use crate::report::trend::Trend;

/// The options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = value::interval)]
    pub(super) interval: Duration,
    /// What is reported.
    #[command(flatten)]
    pub(super) report: ReportArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        let filter = args.filter();
        let mut monitor = Monitor::open(&args.config(args.watched()))?;
        monitor.attach()?;
        monitor.drop_privilege()?;
        let stop = Stop::on_signals()?;
        let mut trend = Trend::default();
        loop {
            monitor.refresh()?;
            let mut report = monitor.report(&filter, args.sort);
            report.add_trend(&mut trend, ktime());
            let shown = show(&report, args, true);
            say_why_incomplete(&report, args);
            let exit = Exit::from(&report);
            if reader_has_gone(shown)? {
                return Ok(Exit::Clean);
            }
            if monitor.follow(stop.as_fd(), self.interval)? {
                return Ok(exit);
            }
        }
    }
}
