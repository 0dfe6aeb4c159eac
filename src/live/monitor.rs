//! Probe and table together: attach first, scan second, and keep both in step.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::host::clock::{self, Moment, cpu_time, ktime, monotonic};
use crate::host::privilege::NAMESPACES;
use crate::live::schedule::{Reason, Schedule};
use crate::live::table::{CAPACITY, Queue, Table};
use crate::probe::{Config, Probe, ProbeError, Walked};
use crate::report::filter::Filter;
use crate::report::{Health, Report, SortKey};
use crate::sock::age::{SLACK_NS, Tick};

/// How often a scan that has met sockets on the move looks again, before `list` gives up.
const ATTEMPTS: usize = 4;

/// How long before a scan may begin all has to be told as it happens.
const SETTLING: Duration = Duration::from_nanos(SLACK_NS);

/// What is leaked, kept up to date.
pub struct Monitor {
    probe: Probe,
    table: Table,
    schedule: Schedule,
    /// The records lost before the last scan that nothing was lost during.
    reconciled: u64,
    /// The network namespaces that the last scan of everything could not look into.
    closed: Vec<u32>,
    /// Whether there are others where it did not come to the end.
    cut: bool,
}

impl Monitor {
    /// Loads the programs.
    ///
    /// # Errors
    /// See [`Probe::open`].
    pub fn open(config: &Config) -> Result<Self, ProbeError> {
        Ok(Self {
            probe: Probe::open(config)?,
            table: Table::new(config.watched, tick(), CAPACITY),
            schedule: Schedule::default(),
            reconciled: 0,
            closed: Vec::new(),
            cut: false,
        })
    }

    /// Begins to follow transitions.
    ///
    /// # Errors
    /// See [`Probe::attach`].
    pub fn attach(&mut self) -> Result<(), ProbeError> {
        self.probe.attach()
    }

    /// Gives up every capability that is not needed from here on.
    ///
    /// # Errors
    /// See [`Probe::drop_privilege`].
    pub fn drop_privilege(&self) -> Result<(), ProbeError> {
        self.probe.drop_privilege(true)
    }

    /// Waits for the time to pass, and follows transitions meanwhile; says whether `stop` has become
    /// readable before.
    ///
    /// # Errors
    /// Where the ring cannot be read.
    pub fn follow(&mut self, stop: BorrowedFd<'_>, time: Duration) -> Result<bool, ProbeError> {
        let begin = Instant::now();
        if let Some(passing) = time.checked_sub(SETTLING) {
            self.probe.hold_back(true);
            let stopped = self.follow_until(stop, begin + passing)?;
            self.probe.hold_back(false);
            if stopped {
                return Ok(true);
            }
        }
        let stopped = self.follow_until(stop, begin + time)?;
        for record in self.probe.take_passing() {
            self.table.absorb(record);
        }
        Ok(stopped)
    }

    fn follow_until(&mut self, stop: BorrowedFd<'_>, end: Instant) -> Result<bool, ProbeError> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let stopped = self.probe.wait(stop, left)?;
            self.drain()?;
            if stopped || left.is_zero() {
                return Ok(stopped);
            }
        }
    }

    /// Brings the table up to date, with a scan if there is a reason for one.
    ///
    /// # Errors
    /// Where the ring or an iterator cannot be read.
    pub fn refresh(&mut self) -> Result<(), ProbeError> {
        self.drain()?;
        let ktime = ktime();
        let reason = if self.table.needs_scan(ktime) || self.probe.lost() > self.reconciled {
            Reason::Urgent
        } else if self.table.has_settled(ktime) {
            Reason::Audit
        } else if self.probe.left_open() {
            Reason::LeftOpen
        } else {
            Reason::IdleAudit
        };
        let now = monotonic();
        if self.schedule.is_due(now, reason) {
            let before = cpu_time();
            self.scan(self.schedule.is_first())?;
            if self.table.forget_ending() {
                self.probe.set_left_open(true);
            }
            self.schedule.charge(monotonic(), cpu_time().saturating_sub(before));
        }
        Ok(())
    }

    /// Scans once, completely; again where sockets moved between its passes.
    ///
    /// # Errors
    /// Where an iterator cannot be read.
    pub fn scan_all(&mut self) -> Result<(), ProbeError> {
        for _ in 0..ATTEMPTS {
            self.scan(true)?;
            if !self.table.has_missing_owners() {
                break;
            }
        }
        Ok(())
    }

    /// What the table says now.
    pub fn report(&self, filter: &Filter, sort: SortKey) -> Report<'_> {
        Report::build(&self.table, filter, sort, Moment::now(), self.health(filter))
    }

    /// How far that can be trusted.
    fn health(&self, filter: &Filter) -> Health {
        let mut incomplete = Vec::new();
        let lost = self.probe.lost();
        if lost > self.reconciled {
            incomplete.push("events were lost and are not reconciled yet".to_owned());
        }
        if self.table.is_full() {
            incomplete.push(format!("the table is full: it has room for {CAPACITY} sockets"));
        }
        let bound = self.probe.queue_bound();
        // Of what was not asked for, nothing is missing.
        let asked_for = |netns| filter.netns.is_empty() || filter.netns.contains(&netns);
        let too_long =
            |queue: &&Queue| queue.listener.backlog > bound && asked_for(queue.listener.conn.netns);
        for queue in self.table.queues().filter(too_long) {
            incomplete.push(format!(
                "the accept queue of {} is longer than the {bound} that this kernel can walk",
                queue.listener.conn.local
            ));
        }
        if self.closed.iter().any(|&netns| asked_for(netns)) {
            incomplete.push(format!(
                "sockets without a descriptor may be missing, in network namespaces that cannot be \
                 looked into: this needs {}",
                NAMESPACES.names()
            ));
        }
        if self.cut {
            incomplete.push(
                "sockets without a descriptor may be missing: this kernel lets us walk through a \
                 part of its connections only"
                    .to_owned(),
            );
        }
        Health { incomplete, lost_events: lost }
    }

    fn drain(&mut self) -> Result<(), ProbeError> {
        for record in self.probe.take()? {
            self.table.absorb(record);
        }
        Ok(())
    }

    /// Scans every file; and for what that leaves unseen, or `everywhere`, every socket.
    fn scan(&mut self, everywhere: bool) -> Result<(), ProbeError> {
        self.drain()?;
        let lost = self.probe.lost();
        let everywhere = everywhere || lost > self.reconciled;
        self.table.begin_scan(ktime());
        let mut walked = None;
        if everywhere {
            walked = Some(self.probe.scan_everything(|record| self.table.absorb(record))?);
        } else {
            self.probe.scan_files(|record| self.table.absorb(record))?;
            if self.table.has_unseen() {
                walked = Some(self.probe.scan_ehash(&[], |record| self.table.absorb(record))?);
            }
        }
        if let Some(Walked { passed_over, closed, .. }) = &walked {
            let in_doubt = passed_over.differences(&self.table.held(closed));
            if !in_doubt.is_empty() {
                let report = |record| self.table.absorb(record);
                walked = Some(self.probe.scan_ehash(&in_doubt, report)?);
            }
        }
        let everywhere = walked.is_some();
        if let Some(Walked { closed, cut, .. }) = walked {
            (self.closed, self.cut) = (closed, cut);
        }
        self.table.end_scan(&self.closed, everywhere);
        if self.probe.lost() == lost {
            self.reconciled = lost;
        }
        Ok(())
    }
}

fn tick() -> Tick {
    Tick { ns: u64::try_from(clock::tick_length().as_nanos()).unwrap_or(0) }
}
