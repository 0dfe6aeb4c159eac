//! `sockleak export`: metrics of the last report, over HTTP, until a signal.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sd_notify::{NotifyState, watchdog_enabled};

use super::asked::{self, Asked};
use super::output::{note, out_of_sight};
use crate::cli::{HOW, MetricsArgs, PaceArgs, SelectArgs};
use crate::exit::Exit;
use crate::export::changes::{Changes, Line};
use crate::export::listen::{Address, Listener};
use crate::export::page::Page;
use crate::export::server;
use crate::host::clock::Moment;
use crate::host::identity::Identities;
use crate::host::journal::{Log, Priority};
use crate::host::stop::Stop;
use crate::host::{kernel, notify};
use crate::live::monitor::Monitor;
use crate::probe::Probe;
use crate::report::Report;
use crate::report::trend::Trend;
use crate::sock::state::StateSet;
use crate::view::prometheus;

/// The options of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Listen on an IP address and port, or on unix:PATH [default: the sockets that systemd passes,
    /// or else 127.0.0.1:9736]
    #[arg(long, value_name = "ADDRESS", help_heading = HOW)]
    listen: Option<Address>,
    /// How often to make a report, and at what cost.
    #[command(flatten)]
    pace: PaceArgs,
    /// How much of a report becomes metrics.
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Which sockets.
    #[command(flatten)]
    select: SelectArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let mut query = self.select.query();
        let mut asked = Asked::repeated(&query.filter);
        let mut identities = Identities::new(self.select.whose.pod_logs.clone());
        let with_rings = asked::with_rings(&query.filter, &mut identities);
        let listeners = self.listeners()?;
        let config = self.select.config(StateSet::CLOSE_WAIT);
        let mut monitor = Probe::monitor(&config, self.select.rules())?;
        monitor.expect_rings(with_rings);
        monitor.set_budget(self.pace.scan_budget);
        let stop = Stop::on_signals()?;
        let log = Log::open();
        for listener in &listeners {
            log.line(Priority::Info, &format!("serves {}", listener.address()?), &[]);
        }
        let page = Arc::new(Page::new(self.pace.interval));
        let server = server::start(listeners, Arc::clone(&page))?;
        let kernel = kernel::release();
        let watchdog = Watchdog::new();
        let mut trend = Trend::default();
        let mut changes = Changes::default();
        let mut is_ready = false;
        let mut limit_is_said = false;
        let mut stopped = monitor.begin(stop.as_fd())?;
        let (table, namespaces) = (monitor.table(), monitor.namespaces());
        let nobody = asked::nobody(&query.filter, table, namespaces, &mut identities);
        asked::no_processes(&self.select.who.pid).iter().chain(&nobody).for_each(note);
        while !stopped {
            let now = Moment::now();
            let table = monitor.table();
            asked.update(&mut query.filter, table, &mut identities);
            let mut report = Report::build(table, &query, None, now, monitor.health());
            report.add_trend(&mut trend, now.ktime);
            report.add_identities(&mut identities);
            let mut bytes = Vec::new();
            prometheus::render(&report, self.metrics.top, &kernel, &mut bytes)?;
            page.publish(bytes);
            changes.update(&report, now.ktime).iter().for_each(|line| write(&log, line));
            if !limit_is_said && let Some(limit) = out_of_sight(&report, &asked) {
                log.line(Priority::Warning, &limit, &[]);
                limit_is_said = true;
            }
            if !is_ready {
                tell(&NotifyState::Ready);
                is_ready = true;
            }
            if server.is_finished() {
                let error = server.join().map_err(|_| anyhow!("the HTTP thread has died"))?;
                return Err(error).context("cannot serve");
            }
            stopped = watchdog.follow(&mut monitor, stop.as_fd(), self.pace.interval)?;
            monitor.refresh()?;
        }
        tell(&NotifyState::Stopping);
        if let Some(Address::Unix(path)) = &self.listen {
            // Where it cannot be removed, the next start replaces it.
            let _ = std::fs::remove_file(path);
        }
        Ok(Exit::Clean)
    }

    fn listeners(&self) -> Result<Vec<Listener>> {
        let passed = match self.listen {
            Some(_) => vec![],
            None => Listener::passed().context("cannot use a socket that systemd passed")?,
        };
        if !passed.is_empty() {
            return Ok(passed);
        }
        let address = self.listen.clone().unwrap_or_default();
        match Listener::bind(&address) {
            Ok(bound) => Ok(vec![bound]),
            Err(error) => {
                let is_taken = error.kind() == ErrorKind::AddrInUse;
                let hint = if is_taken { "is another exporter running? " } else { "" };
                Err(error).context(format!("cannot listen on {address} ({hint}see --listen)"))
            }
        }
    }
}

fn write(log: &Log, line: &Line) {
    let priority = if line.is_end { Priority::Info } else { Priority::Warning };
    let pid = line.pid.map(|pid| pid.to_string());
    let fields = [("PID", pid.as_deref()), ("UNIT", line.unit.as_deref())];
    let known: Vec<_> =
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    log.line(priority, &line.message, &known);
}

/// Tells the service manager, which need not listen.
fn tell(state: &NotifyState<'_>) {
    let _ = notify::tell(state);
}

/// Systemd's watchdog, which is to be told that the loop turns.
struct Watchdog(Option<Duration>);

impl Watchdog {
    fn new() -> Self {
        // Twice as often as need be, as sd_watchdog_enabled(3) has it.
        Self(watchdog_enabled().map(|period| period / 2))
    }

    /// Follows events for an interval, and tells the watchdog meanwhile.
    fn follow(
        &self,
        monitor: &mut Monitor<Probe>,
        stop: BorrowedFd<'_>,
        interval: Duration,
    ) -> Result<bool> {
        let end = Instant::now() + interval;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let step = self.0.map_or(left, |period| period.min(left));
            if self.0.is_some() {
                tell(&NotifyState::Watchdog);
            }
            let stopped = monitor.follow(stop, step)?;
            if stopped || step == left {
                return Ok(stopped);
            }
        }
    }
}
