//! `sockleak list`: one report, and exit.

use std::io;
use std::mem;

use anyhow::Result;

use super::{config, show};
use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::live::monitor::Monitor;

/// Runs it.
///
/// # Errors
/// Where the kernel side cannot run, or stdout is gone.
pub fn run(args: &ReportArgs) -> Result<Exit> {
    let mut monitor = Monitor::open(&config(args, false))?;
    monitor.drop_privilege()?;
    monitor.scan_all()?;
    let report = monitor.report(&args.filter(), args.sort);
    show(&report, args, false, &mut io::stdout())?;
    let exit = Exit::from(&report);
    // The end of the process frees all at once; row by row takes as long as a tenth of the scan.
    mem::forget(report);
    mem::forget(monitor);
    Ok(exit)
}
