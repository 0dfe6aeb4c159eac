//! `sockleak watch`: a report each interval, until a signal.

use std::io;
use std::os::fd::AsFd;

use anyhow::Result;

use super::{config, show};
use crate::cli::WatchArgs;
use crate::exit::Exit;
use crate::host::stop::Stop;
use crate::live::monitor::{Monitor, now};
use crate::report::trend::Trend;

/// Runs it.
///
/// # Errors
/// Where the kernel side cannot run, or stdout is gone.
pub fn run(args: &WatchArgs) -> Result<Exit> {
    let filter = args.report.filter();
    let mut monitor = Monitor::open(&config(&args.report, true))?;
    monitor.attach()?;
    monitor.drop_privilege()?;
    let stop = Stop::on_signals()?;
    let mut trend = Trend::default();
    loop {
        monitor.refresh()?;
        let mut report = monitor.report(&filter, args.report.sort);
        report.add_trend(&mut trend, now().ktime);
        show(&report, &args.report, true, &mut io::stdout())?;
        let exit = Exit::from(&report);
        if monitor.follow(stop.as_fd(), args.interval)? {
            return Ok(exit);
        }
    }
}
