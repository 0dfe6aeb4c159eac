//! `sockleak check`: one report, in the words of a monitoring plugin.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::asked::{self, Asked};
use super::output::out_of_sight;
use crate::cli::{HOW, SelectArgs, value};
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::probe::Probe;
use crate::report::Report;
use crate::sock::state::StateSet;
use crate::view::check::{self, Status, Thresholds};

/// The options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Warn when more sockets than this are leaked
    #[arg(
        short,
        long,
        value_name = "SOCKETS",
        default_value_t = 50,
        value_parser = value::number,
        allow_negative_numbers = true,
        help_heading = HOW
    )]
    warning: usize,
    /// Be critical when more sockets than this are leaked
    #[arg(
        short,
        long,
        value_name = "SOCKETS",
        default_value_t = 500,
        value_parser = value::number,
        allow_negative_numbers = true,
        help_heading = HOW
    )]
    critical: usize,
    /// Warn when a process will be out of descriptors sooner than this, if it leaks on as in the past
    /// half hour
    ///
    /// Example: --warn-exhaustion 4h
    ///
    /// The rate is that of the leaks which are there now, by their ages. It takes ten in half an
    /// hour to tell.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = HOW)]
    warn_exhaustion: Option<Duration>,
    /// Which sockets.
    #[command(flatten)]
    select: SelectArgs,
}

impl Args {
    pub(super) fn run(&self) -> ExitCode {
        match self.answer() {
            Ok(status) => code(status),
            Err(error) => unknown(&format!("{error:#}")),
        }
    }

    fn answer(&self) -> Result<Status> {
        let Self { warning, critical, .. } = *self;
        if warning > critical {
            bail!("--warning {warning} is above --critical {critical}: give a lower one");
        }
        let thresholds = Thresholds { warning, critical, exhaustion: self.warn_exhaustion };
        let mut query = self.select.query();
        if let Some(wrong) = asked::no_processes(&self.select.who.pid).first() {
            bail!("{wrong}");
        }
        let mut asked = Asked::new(&query.filter);
        let mut identities = Identities::new(self.select.whose.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let config = self.select.config(StateSet::NONE);
        let mut monitor = Probe::monitor(&config, self.select.rules())?;
        monitor.expect_rings(with_rings);
        monitor.look_twice(thread::sleep)?;
        let table = monitor.table();
        let namespaces = monitor.namespaces();
        let nobody = asked::nobody(&query.filter, table, namespaces, &mut identities);
        if let Some(wrong) = nobody.first() {
            bail!("{wrong}");
        }
        while !asked.update(&mut query.filter, table, &mut identities) {}
        let mut report = Report::build(table, &query, None, Moment::now(), monitor.health());
        report.add_history(self.select.min_age());
        let limit = out_of_sight(&report, &asked);
        // The status counts also where nobody reads the line.
        let _ = check::render(&report, thresholds, limit.as_deref(), &mut io::stdout());
        Ok(check::judge(&report, thresholds))
    }
}

/// The answer where there is none. Plugins tell it on stdout.
pub(super) fn unknown(problem: &str) -> ExitCode {
    let _ = check::write_line(Status::Unknown, problem, None, &mut io::stdout());
    code(Status::Unknown)
}

fn code(status: Status) -> ExitCode {
    ExitCode::from(status as u8)
}
