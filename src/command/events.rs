//! `sockleak events`: every transition as it happens, until a signal.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;

use crate::cli::{EventsArgs, Format};
use crate::exit::Exit;
use crate::host::stop::Stop;
use crate::live::monitor::now;
use crate::probe::{Config, Probe};
use crate::sock::event::Record;
use crate::sock::state::StateSet;
use crate::view::events::{EventRow, header, render};
use crate::view::json;
use crate::view::residence::Residence;

/// How late a transition may be shown. A wake-up for each would cost the host more.
const LATENCY: Duration = Duration::from_millis(100);

/// Runs it.
///
/// # Errors
/// Where the kernel side cannot run, or stdout is gone.
pub fn run(args: &EventsArgs) -> Result<Exit> {
    let mut probe = Probe::open(&Config {
        watched: StateSet::CLOSE_WAIT,
        transitions: args.transitions(),
        brief: false,
        ring_size: args.kernel.ring_size,
        btf: args.kernel.btf.file.clone(),
    })?;
    probe.attach()?;
    probe.drop_privilege(false)?;
    let stop = Stop::on_signals()?;
    let filter = args.conn.filter();
    let format = args.format.get();
    let mut out = io::BufWriter::new(io::stdout().lock());
    if format == Format::Text && !args.no_headers {
        header(&mut out)?;
        out.flush()?;
    }
    let mut residence = Residence::default();
    let (mut lost, mut dropped) = (0, 0);
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
            writeln!(io::stderr(), "sockleak: {} events lost: {why}", lost - lost_before)?;
            residence.forget();
        }
        let now = now();
        for record in records {
            let Record::Transition(transition) = record else {
                continue;
            };
            let in_old_state = residence.leave(&transition);
            let conn = &transition.conn;
            if !filter.matches_conn(&conn.local, &conn.remote, conn.netns) {
                continue;
            }
            let row = EventRow::new(transition, in_old_state, now);
            match format {
                Format::Text => render(&row, &mut out)?,
                Format::Json => json::render(&row, &mut out)?,
            }
        }
        out.flush()?;
        if stopped {
            return Ok(if lost > 0 { Exit::Incomplete } else { Exit::Clean });
        }
    }
}
