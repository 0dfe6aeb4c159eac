//! `sockleak list`: one report, and exit.

use std::mem;

use anyhow::Result;

use super::output::{reader_has_gone, say_why_incomplete, show};
use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::live::monitor::Monitor;
use crate::sock::state::StateSet;

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is reported.
    #[command(flatten)]
    report: ReportArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        let mut monitor = Monitor::open(&args.config(StateSet::NONE))?;
        monitor.drop_privilege()?;
        monitor.scan_all()?;
        let report = monitor.report(&args.filter(), args.sort);
        let shown = show(&report, args, false);
        say_why_incomplete(&report, args);
        // A reader that has gone changes nothing: the whole answer is known.
        reader_has_gone(shown)?;
        let exit = Exit::from(&report);
        // The end of the process frees all at once; row by row takes as long as a tenth of the scan.
        mem::forget(report);
        mem::forget(monitor);
        Ok(exit)
    }
}
