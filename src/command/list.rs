//! `sockleak list`: one report, and exit.

use std::{mem, thread};

use anyhow::Result;

use super::asked::{self, Asked};
use super::output::{
    note, reader_has_gone, say_what_is_out_of_sight, say_why_incomplete, show, show_footer,
};
use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::probe::Probe;
use crate::report::Report;

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Options of the report.
    #[command(flatten)]
    report: ReportArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        let mut query = args.query();
        if let Some(wrong) = asked::no_processes(&args.pid).first() {
            note(wrong);
            return Ok(Exit::Usage);
        }
        let mut asked = Asked::new(&query.filter);
        let mut identities = Identities::new(args.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let mut monitor = Probe::monitor(&args.config(false), args.rules())?;
        monitor.expect_rings(with_rings);
        monitor.look_twice(thread::sleep)?;
        let table = monitor.table();
        let namespaces = monitor.namespaces();
        let nobody = asked::nobody(&query.filter, table, namespaces, &mut identities);
        if let Some(wrong) = nobody.first() {
            note(wrong);
            return Ok(Exit::Usage);
        }
        while !asked.update(&mut query.filter, table, &mut identities) {}
        let peers = query.peers(table);
        let now = Moment::now();
        let mut report = Report::build(table, &query, peers.as_ref(), now, monitor.health());
        report.doubt_ages();
        report.add_identities(&mut identities);
        let shown = show(&report, args, None).and_then(|()| show_footer(&report, args));
        say_why_incomplete(&report, args);
        say_what_is_out_of_sight(&report, &asked);
        // A reader that has gone changes nothing: the whole answer is known.
        reader_has_gone(shown)?;
        let exit = Exit::from(&report);
        // The end of the process frees all at once; row by row takes as long as a tenth of the scan.
        mem::forget(report);
        mem::forget((peers, monitor));
        Ok(exit)
    }
}
