//! `sockleak events`: every transition as it happens, until a signal.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;

use super::output::{has_no_metrics, note, reader_has_gone};
use crate::cli::{ConnArgs, Format, FormatArgs, HOW, KernelArgs, WHAT, words};
use crate::exit::Exit;
use crate::host::clock::Moment;
use crate::host::stop::Stop;
use crate::probe::{Config, Probe};
use crate::sock::event::Record;
use crate::sock::state::StateSet;
use crate::view::events::{EventRow, header, render};
use crate::view::residence::Residence;
use crate::view::{csv, json};

/// How late a transition may be shown. A wake-up for each would cost the host more.
const LATENCY: Duration = Duration::from_millis(100);

/// The options of `events`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only transitions into or out of these states [default: all]
    #[arg(
        short,
        long,
        value_name = "STATE",
        value_delimiter = ',',
        value_parser = words::states(),
        help_heading = WHAT
    )]
    state: Vec<StateSet>,
    /// Which connections.
    #[command(flatten)]
    conn: ConnArgs,
    /// Leave out the line above the columns
    #[arg(long, help_heading = HOW)]
    no_headers: bool,
    /// In which form.
    #[command(flatten)]
    format: FormatArgs,
    /// Options of the kernel side.
    #[command(flatten)]
    kernel: KernelArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        if has_no_metrics(&self.format) {
            return Ok(Exit::Usage);
        }
        let mut probe = Probe::open(&Config {
            watched: StateSet::CLOSE_WAIT,
            transitions: self.transitions(),
            scans: false,
            ring_size: self.kernel.ring_size,
            btf: self.kernel.btf.file.clone(),
            kept: &[],
        })?;
        probe.attach()?;
        probe.drop_privilege()?;
        let stop = Stop::on_signals()?;
        let filter = self.conn.filter();
        let mut out = io::BufWriter::new(io::stdout().lock());
        let mut residence = Residence::default();
        let (mut lost, mut dropped) = (0, 0);
        let mut has_names = self.no_headers;
        if reader_has_gone(self.write_header(&mut out))? {
            return Ok(Exit::Clean);
        }
        loop {
            let stopped = probe.wait(stop.as_fd(), LATENCY)?;
            let records = probe.take()?;
            let (lost_before, dropped_before) = (lost, dropped);
            (lost, dropped) = (probe.lost(), probe.dropped());
            if lost > lost_before {
                let why = match dropped > dropped_before {
                    true => "try a larger --ring-size",
                    false => "they happened while our BPF programs were interrupted",
                };
                note(format_args!("{} events lost: {why}", lost - lost_before));
                residence.forget();
            }
            let exit = if lost > 0 { Exit::Incomplete } else { Exit::Clean };
            stop.set_code(exit.code());
            let now = Moment::now();
            let rows = records.into_iter().filter_map(|record| {
                let Record::Transition(transition) = record else { return None };
                let in_old_state = residence.leave(&transition);
                let conn = &transition.conn;
                let is_shown = filter.matches_conn(&conn.local, &conn.remote, conn.netns);
                is_shown.then(|| EventRow::new(transition, in_old_state, now))
            });
            if reader_has_gone(self.write(rows, &mut has_names, &mut out))? {
                return Ok(Exit::Clean);
            }
            if stopped {
                return Ok(exit);
            }
        }
    }

    fn write_header(&self, out: &mut impl Write) -> io::Result<()> {
        if self.format.get() == Format::Text && !self.no_headers {
            header(out)?;
        }
        out.flush()
    }

    fn write(
        &self,
        mut rows: impl Iterator<Item = EventRow>,
        has_names: &mut bool,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match self.format.get() {
            Format::Text => rows.try_for_each(|row| render(&row, out))?,
            Format::Json | Format::Prometheus => {
                rows.try_for_each(|row| json::render(&row, out))?
            }
            Format::Csv => rows.try_for_each(|row| {
                csv::render_record(&row, !std::mem::replace(has_names, true), out)
            })?,
        }
        out.flush()
    }

    /// The states whose edges to show.
    fn transitions(&self) -> StateSet {
        match self.state.is_empty() {
            true => StateSet::ALL,
            false => self.state.iter().copied().collect(),
        }
    }
}
