//! The one input of every view of a run.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::baseline::Entry;
use super::doubt::Doubt;
use super::gate::{Gate, Sorted, distinct};
use super::leak::Leak;
use crate::report::SCHEMA;
use crate::report::serial::rfc3339;
use crate::sock::leak::Verdict;
use crate::sock::name::sanitised;

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has exited with this code.
    Exited(u8),
    /// This signal has killed it.
    Killed(u8),
}

impl Outcome {
    /// The exit code that a shell gives it.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// The report of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// As in all reports.
    pub schema: u32,
    /// When the command ended: UTC, to the millisecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// The command and its arguments.
    #[serde(serialize_with = "words")]
    pub command: Vec<String>,
    /// How long it ran.
    #[serde(rename = "ran_seconds", serialize_with = "in_seconds")]
    pub ran: Duration,
    /// The command's own exit code; null where a signal killed it.
    pub command_exit_code: Option<u8>,
    /// The signal that killed it.
    pub command_signal: Option<u8>,
    /// The exit code of the run.
    pub exit_code: u8,
    /// True if nothing can be missing.
    pub complete: bool,
    /// If something can be: why.
    pub incomplete: Vec<Doubt>,
    /// How many sockets are leaked: those that count.
    pub leaked: usize,
    /// How many may be.
    pub max_leaks: usize,
    /// A row for each leaked socket and process that had it.
    pub sockets: Vec<Leak>,
    /// The same for those that were closed late, where that does not count.
    pub late: Vec<Leak>,
    /// How many leaks are known: by `--not`, or by the baseline.
    pub known: usize,
    /// Entries of the baseline that no longer occur.
    pub gone: Vec<Entry>,
    /// How many sockets were dead too shortly at the end for anybody to tell.
    pub too_young: u64,
    /// How many processes of the command outlived it.
    pub survivors: usize,
    /// How many sockets are stranded, by verdict, where that does not count.
    pub stranded: BTreeMap<Verdict, usize>,
    /// How many records came from the kernel: one for each program that was executed, and a few for each
    /// socket that was closed late. Clean sockets cost none.
    pub records: u64,
    /// The least age of a leak.
    #[serde(skip)]
    pub min_age: Duration,
}

/// Facts about a run, besides its leaks.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// When it ended.
    pub time: SystemTime,
    /// How long it ran.
    pub ran: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Why something may be missing.
    pub incomplete: Vec<Doubt>,
    /// See [`RunReport`].
    pub too_young: u64,
    /// See [`RunReport`].
    pub survivors: usize,
    /// See [`RunReport`].
    pub stranded: BTreeMap<Verdict, usize>,
    /// See [`RunReport`].
    pub records: u64,
    /// The least age of a leak.
    pub min_age: Duration,
}

impl RunReport {
    /// The report of a run with these leaks.
    pub fn new(facts: Facts, gate: &Gate, sorted: Sorted) -> Self {
        let leaked = distinct(&sorted.leaked);
        let complete = facts.incomplete.is_empty();
        let (exit_code, signal) = match facts.outcome {
            Outcome::Exited(code) => (Some(code), None),
            Outcome::Killed(signal) => (None, Some(signal)),
        };
        Self {
            schema: SCHEMA,
            time: facts.time,
            command: facts.command,
            ran: facts.ran,
            command_exit_code: exit_code,
            command_signal: signal,
            exit_code: gate.code(facts.outcome.code(), leaked, complete),
            complete,
            incomplete: facts.incomplete,
            leaked,
            max_leaks: gate.max_leaks,
            sockets: sorted.leaked,
            late: sorted.late,
            known: sorted.known,
            gone: sorted.gone,
            too_young: facts.too_young,
            survivors: facts.survivors,
            stranded: if gate.stranded { BTreeMap::new() } else { facts.stranded },
            records: facts.records,
            min_age: facts.min_age,
        }
    }

    /// True if there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.complete
            && self.sockets.is_empty()
            && self.late.is_empty()
            && self.known == 0
            && self.gone.is_empty()
            && self.too_young == 0
            && self.stranded.is_empty()
    }

    /// True if so many sockets are leaked that the run fails.
    pub fn fails(&self) -> bool {
        self.leaked > self.max_leaks
    }
}

fn words<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(words.iter().map(|word| sanitised(word)))
}

fn in_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e3).round() / 1e3)
}
