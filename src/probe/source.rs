//! The probe as a monitor's source.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Config, Probe, ProbeError};
use crate::host::clock;
use crate::live::monitor::{Monitor, Rules};
use crate::live::source::{Losses, Source, Walked};
use crate::sock::age::Tick;
use crate::sock::event::Record;

impl Probe {
    /// A monitor on the kernel: loads the programs, attaches those that follow events if the
    /// configuration has any, and gives up every privilege that is not needed from then on.
    ///
    /// # Errors
    /// See [`Probe::open`].
    pub fn monitor(config: &Config, rules: Rules) -> Result<Monitor<Self>, ProbeError> {
        let mut probe = Self::open(config)?;
        if !config.transitions.is_empty() {
            probe.attach()?;
        }
        probe.drop_privilege()?;
        let tick = u64::try_from(clock::tick_length().as_nanos()).unwrap_or(0);
        Ok(Monitor::new(probe, rules, Tick { ns: tick }))
    }
}

impl Source for Probe {
    type Error = ProbeError;

    fn wait(&self, stop: BorrowedFd<'_>, time: Duration) -> Result<bool, ProbeError> {
        self.wait(stop, time)
    }

    fn take(&mut self) -> Result<Vec<Record>, ProbeError> {
        self.take()
    }

    fn scan_files(&mut self, report: impl FnMut(Record)) -> Result<(), ProbeError> {
        self.scan_files(report)
    }

    fn scan_everything(&mut self, report: impl FnMut(Record)) -> Result<Walked, ProbeError> {
        self.scan_everything(report)
    }

    fn scan_ehash(
        &mut self,
        groups: &[usize],
        report: impl FnMut(Record),
    ) -> Result<Walked, ProbeError> {
        self.scan_ehash(groups, report)
    }

    fn report_exits(&mut self, yes: bool) {
        self.report_exits(yes);
    }

    fn losses(&self) -> Losses {
        Losses {
            dropped: self.dropped(),
            skipped: self.skipped(),
            queued: self.queues_lost() + self.rings_lost(),
            undecodable: self.undecodable(),
        }
    }

    fn left_open(&self) -> bool {
        self.left_open()
    }

    fn set_left_open(&mut self, yes: bool) {
        self.set_left_open(yes);
    }

    fn surprises(&self) -> Vec<String> {
        self.surprises().iter().map(ToString::to_string).collect()
    }

    fn queue_bound(&self) -> u32 {
        self.queue_bound()
    }

    fn sees_rings(&self) -> bool {
        self.sees_rings()
    }
}
