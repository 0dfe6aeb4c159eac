//! Source and table together: attach first, scan second, and keep both in step.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::health::{Health, Incomplete, Scans};
use super::schedule::{Budget, Needs, Reason, Schedule};
use super::source::{Cut, Source, Walked};
use super::table::{CAPACITY, Queue, Table};
use crate::host::clock;
use crate::sock::age::Tick;
use crate::sock::leak::Class;
use crate::sock::state::StateSet;

/// How often a scan that has met sockets on the move is repeated, before `list` gives up.
const ATTEMPTS: usize = 4;

/// Rules of judgement.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The states that somebody asked for, besides the sockets that can have a verdict.
    pub watched: StateSet,
    /// A socket that has not moved for so many ns is idle.
    pub idle: u64,
    /// How many ns two looks are apart.
    pub settle: u64,
}

/// The table, kept up to date from a source.
pub struct Monitor<S> {
    source: S,
    rules: Rules,
    table: Table,
    schedule: Schedule,
    /// How many events had been lost when the last scan began.
    lost_at_last_scan: u64,
    /// Where the last scan of everything did not come to the end.
    cut: Cut,
    /// The network namespaces that there were, where it has asked for them.
    namespaces: Option<BTreeSet<u32>>,
    /// When the last scan began.
    scanned: u64,
    scans: Scans,
    /// True if sockets wait for a scan that the budget does not allow yet.
    is_overdue: bool,
    /// How many of the processes that are asked for have files in the tables of io_urings.
    with_rings: usize,
}

impl<S: Source> Monitor<S> {
    /// Begins with an empty table. From now on, events of the source are noted.
    pub fn new(source: S, rules: Rules, tick: Tick) -> Self {
        Self {
            source,
            rules,
            table: Table::new(rules.watched, tick, CAPACITY),
            schedule: Schedule::default(),
            lost_at_last_scan: 0,
            cut: Cut::default(),
            namespaces: None,
            scanned: 0,
            scans: Scans::default(),
            is_overdue: false,
            with_rings: 0,
        }
    }

    /// Sets how much scans may cost.
    pub fn set_budget(&mut self, budget: Budget) {
        self.schedule.set_budget(budget);
    }

    /// Says how many of the processes that are asked for have files in the tables of io_urings.
    pub fn expect_rings(&mut self, processes: usize) {
        self.with_rings = processes;
    }

    /// The table of all that is known.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The network namespaces that there were at the last scan of everything, where they are known.
    pub fn namespaces(&self) -> Option<&BTreeSet<u32>> {
        self.namespaces.as_ref()
    }

    /// Waits for the time to pass, and follows events meanwhile; says whether `stop` has become
    /// readable before.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn follow(&mut self, stop: BorrowedFd<'_>, time: Duration) -> Result<bool, S::Error> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let stopped = self.source.wait(stop, left)?;
            self.drain()?;
            if stopped || left.is_zero() {
                return Ok(stopped);
            }
        }
    }

    /// Brings the table up to date, with a scan if there is a reason for one, and the budget allows it.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn refresh(&mut self) -> Result<(), S::Error> {
        self.drain()?;
        let reason = self.needs().reason();
        let is_due = self.schedule.is_due(clock::monotonic(), reason);
        self.is_overdue = reason == Reason::Urgent && !is_due;
        if is_due {
            let before = clock::cpu_time();
            self.scan(self.schedule.is_first())?;
            if self.table.forget_ending() {
                self.source.set_left_open(true);
            }
            let cost = clock::cpu_time().saturating_sub(before);
            self.schedule.charge(clock::monotonic(), cost);
        }
        Ok(())
    }

    /// Makes the first scan; and where it has met sockets that may be about to leave, follows events
    /// for the time between two looks, and looks again. Says whether `stop` has become readable.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn begin(&mut self, stop: BorrowedFd<'_>) -> Result<bool, S::Error> {
        self.refresh()?;
        if !self.table.is_in_doubt(clock::ktime(), self.rules.settle) {
            return Ok(false);
        }
        let stopped = self.follow(stop, Duration::from_nanos(self.rules.settle))?;
        self.refresh()?;
        Ok(stopped)
    }

    /// Gaps that a scan could fill.
    fn needs(&self) -> Needs {
        let now = clock::ktime();
        let (mut has_rows, mut has_pending) = (false, false);
        for (sock, tracked) in self.table.socks() {
            if tracked.is_passing(now) {
                continue;
            }
            let (class, _) = tracked.judge(now, self.rules.idle, self.table.relay(sock).is_some());
            has_rows |= class != Class::InUse || self.rules.watched.contains(tracked.state);
            has_pending = true;
            if has_rows {
                break;
            }
        }
        Needs {
            has_unscanned: self.table.needs_scan(now),
            has_lost_events: self.has_lost_events(),
            has_rows,
            has_pending,
            left_open: self.source.left_open(),
        }
    }

    /// Looks at everything; and where sockets may be about to leave, waits for the time between two
    /// looks, and looks again.
    ///
    /// # Errors
    /// Where an iterator cannot be read.
    pub fn look_twice(&mut self, wait: impl FnOnce(Duration)) -> Result<(), S::Error> {
        self.look(Table::has_missing_owners)?;
        if self.table.is_in_doubt(clock::ktime(), self.rules.settle) {
            wait(Duration::from_nanos(self.rules.settle));
            self.look(|_| false)?;
        }
        Ok(())
    }

    /// Scans everything; again where sockets that moved led a walk astray, or something is missing.
    fn look(&mut self, is_missing: impl Fn(&Table) -> bool) -> Result<(), S::Error> {
        for _ in 0..ATTEMPTS {
            self.scan(true)?;
            if self.cut.strayed == 0 && !is_missing(&self.table) {
                break;
            }
        }
        Ok(())
    }

    /// How far the table can be trusted.
    pub fn health(&self) -> Health {
        let losses = self.source.losses();
        let mut incomplete = Vec::new();
        if self.has_lost_events() {
            let lost = losses.events() - self.lost_at_last_scan;
            incomplete.push(Incomplete::EventsLost(lost));
        }
        if losses.undecodable > 0 {
            incomplete.push(Incomplete::RecordsUnreadable(losses.undecodable));
        }
        if self.table.is_full() {
            incomplete.push(Incomplete::TableFull(CAPACITY));
        }
        if losses.queued > 0 {
            incomplete.push(Incomplete::QueuesTruncated(losses.queued));
        }
        let bound = self.source.queue_bound();
        for Queue { listener, .. } in self.table.queues() {
            if listener.backlog > bound {
                let (listener, netns) = (listener.conn.local, listener.conn.netns);
                incomplete.push(Incomplete::QueueTruncated { listener, netns, bound });
            }
        }
        if self.cut.by_kernel {
            incomplete.push(Incomplete::WalkTruncated);
        }
        if self.cut.strayed > 0 {
            incomplete.push(Incomplete::WalkStrayed(self.cut.strayed));
        }
        if self.cut.overlong > 0 {
            incomplete.push(Incomplete::ChainOverlong(self.cut.overlong));
        }
        incomplete.extend(self.source.surprises().into_iter().map(Incomplete::UnknownKernel));
        if self.with_rings > 0 && !self.source.sees_rings() {
            incomplete.push(Incomplete::RingsUnseen(self.with_rings));
        }
        if self.is_overdue {
            let age = Duration::from_nanos(clock::ktime().saturating_sub(self.scanned));
            incomplete.push(Incomplete::ScanOverdue { age, cost: self.schedule.cost() });
        }
        Health {
            incomplete,
            lost_events: losses.events(),
            scanned: self.scanned,
            scans: self.scans,
        }
    }

    fn has_lost_events(&self) -> bool {
        self.source.losses().events() > self.lost_at_last_scan
    }

    fn drain(&mut self) -> Result<(), S::Error> {
        for record in self.source.take()? {
            self.table.absorb(record);
        }
        self.forget_exited();
        Ok(())
    }

    fn forget_exited(&mut self) {
        if self.table.forget_exited() {
            self.source.set_left_open(true);
        }
    }

    /// Scans every file; and for what that has missed, or `everywhere`, every connection.
    fn scan(&mut self, everywhere: bool) -> Result<(), S::Error> {
        let (began, cpu) = (clock::monotonic(), clock::cpu_time());
        self.scan_uncounted(everywhere)?;
        self.scans.total += 1;
        self.scans.duration = clock::monotonic().saturating_sub(began);
        self.scans.cpu += clock::cpu_time().saturating_sub(cpu);
        Ok(())
    }

    fn scan_uncounted(&mut self, everywhere: bool) -> Result<(), S::Error> {
        self.drain()?;
        let lost = self.source.losses().events();
        let everywhere = everywhere || lost > self.lost_at_last_scan;
        self.source.report_exits(true);
        let began = clock::ktime();
        self.table.begin_scan(began);
        let mut walked = None;
        if everywhere {
            walked = Some(self.source.scan_everything(|record| self.table.absorb(record))?);
        } else {
            self.source.scan_files(|record| self.table.absorb(record))?;
            if self.table.has_missed() {
                walked = Some(self.source.scan_ehash(&[], |record| self.table.absorb(record))?);
            }
        }
        if let Some(Walked { sums, .. }) = &walked {
            let in_doubt = sums.differences(&self.table.held());
            if !in_doubt.is_empty() {
                let report = |record| self.table.absorb(record);
                walked = Some(self.source.scan_ehash(&in_doubt, report)?);
            }
        }
        let everywhere = walked.is_some();
        if let Some(Walked { cut, namespaces, .. }) = walked {
            (self.cut, self.namespaces) = (cut, namespaces);
        }
        self.table.end_scan(everywhere);
        self.forget_exited();
        self.source.report_exits(self.table.has_holders());
        self.scanned = began;
        self.lost_at_last_scan = lost;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
