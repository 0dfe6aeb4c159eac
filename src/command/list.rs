//! `sockleak list`: one report, and exit.

use std::io::{self, Write};
use std::path::PathBuf;
use std::{mem, thread};

use anyhow::Result;
use clap::ValueHint;

use super::asked::{self, Asked};
use super::output::{
    Output, beside, incomplete, note, out_of_sight, reader_has_gone, write_metrics,
};
use super::replace::Replacement;
use crate::cli::{Format, HOW, MetricsArgs, ReportArgs, WRITING};
use crate::exit::Exit;
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::host::terminal;
use crate::probe::Probe;
use crate::report::Report;
use crate::view::text;

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Options of the report.
    #[command(flatten)]
    report: ReportArgs,
    /// Write to this file, which is replaced once all is written; what is no file is refused
    #[arg(short = 'O', long, value_name = "FILE", help_heading = HOW, value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// How much of it becomes metrics.
    #[command(flatten)]
    metrics: MetricsArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let args = &self.report;
        let mut query = args.query();
        let target = self.output.as_deref();
        let wrong = args.contradiction().or_else(|| target.and_then(Replacement::refusal));
        if let Some(wrong) = wrong.into_iter().chain(asked::no_processes(&args.who.pid)).next() {
            note(wrong);
            return Ok(Exit::Usage);
        }
        let mut asked = Asked::new(&query.filter);
        let mut identities = Identities::new(args.whose.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let mut config = args.config(false);
        if target.is_some() {
            config.kept = WRITING;
        }
        let mut monitor = Probe::monitor(&config, args.rules())?;
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
        let mut said = incomplete(&report, args);
        said.extend(out_of_sight(&report, &asked));
        let shown = match target {
            Some(target) => {
                Replacement::write(target, |out| self.write(&report, out))?;
                Ok(())
            }
            None => self.show(&report, &said),
        };
        said.iter().for_each(note);
        // A reader that has gone changes nothing: the whole answer is known.
        reader_has_gone(shown)?;
        let exit = match (target, args.format.get()) {
            // A timer has done what it is for, whatever is leaked: the metrics tell that.
            (Some(_), Format::Prometheus) => Exit::Clean,
            _ => Exit::from(&report),
        };
        // The end of the process frees all at once; row by row takes as long as a tenth of the scan.
        mem::forget(report);
        mem::forget((peers, monitor));
        Ok(exit)
    }

    /// Writes a page to a terminal, with room for what will be `said` below, and everything to something
    /// else.
    fn show(&self, report: &Report<'_>, said: &[String]) -> io::Result<()> {
        let args = &self.report;
        let mut out = io::stdout();
        let is_text = args.format.get() == Format::Text;
        match terminal::size(&out).filter(|_| is_text && !report.sockets.is_empty()) {
            Some(mut size) => {
                if terminal::size(&io::stderr()).is_some() {
                    let lines = text::fitted(said, size.width, size.height / 2).len();
                    size.height -= lines;
                }
                let notes = beside(report, args);
                let page = Output::new(args, None).page(report, size, false, &notes)?;
                out.write_all(&page)?;
                out.flush()
            }
            None => self.write(report, &mut out),
        }
    }

    fn write(&self, report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
        let args = &self.report;
        if args.format.get() == Format::Prometheus {
            return write_metrics(report, self.metrics, out);
        }
        Output::new(args, None).write(report, out)?;
        match args.format.get() {
            Format::Json | Format::Prometheus => {}
            Format::Text => {
                for line in beside(report, args) {
                    writeln!(out, "{line}")?;
                }
            }
            // There is no place in it for a sentence.
            Format::Csv => beside(report, args).iter().for_each(note),
        }
        Ok(())
    }
}
