//! Sentences below the rows.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::units::{Count, Span};
use super::width::wrapped;
use crate::report::{ProcessRow, Report, Shown};
use crate::sock::leak::Verdict;
use crate::sock::name::sanitised;

/// Legends of the marks beside unread bytes.
const FAREWELL: &str = "?: perhaps the goodbye of a peer that closed an idle connection of a \
                        pool (TLS close_notify, HTTP 408, FTP 421, GOAWAY)";
const NEVER_READ: &str = "*: the program never read anything of what came";

/// A sentence for each verdict, and for each mark.
pub(super) fn explanations(report: &Report<'_>) -> Vec<String> {
    let kinds = report.sockets.kinds();
    let verdicts = kinds.verdicts.iter();
    let verdicts = verdicts.map(|verdict| format!("{verdict}: {}", verdict.summary()));
    let marks = [(kinds.has_farewell, FAREWELL), (kinds.has_never_read, NEVER_READ)];
    let marks = marks.into_iter().filter(|&(has, _)| has).map(|(_, mark)| mark.to_owned());
    verdicts.chain(marks).collect()
}

/// Says how old the last scan is, if it is older than this.
pub(super) fn stale(scanned_ago: Option<u64>, least: Option<Duration>) -> Option<String> {
    let (ago, least) = (scanned_ago?, least?);
    (u128::from(ago) > least.as_nanos())
        .then(|| format!("holders and unread bytes are as of the last scan, {} ago", Span(ago)))
}

/// A line that counts stranded sockets, where rows do not show them.
pub fn footer(report: &Report<'_>) -> Option<String> {
    if report.stranded.is_empty() || report.shown == Shown::Stranded {
        return None;
    }
    let counts: Vec<_> =
        report.stranded.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let name = |(pid, comm): &(u32, Option<&str>)| {
        format!(" in {}[{pid}]", comm.map_or("?".into(), sanitised))
    };
    let most = report.stranded_in.first().map(name).unwrap_or_default();
    let others = match report.stranded_in.len() {
        0 | 1 => String::new(),
        2 => " and another process".to_owned(),
        several => format!(" and {} other processes", several - 1),
    };
    Some(format!("also stranded: {}{most}{others}: see --stranded", counts.join(", ")))
}

/// Counts the leaked sockets that may be older than `least`, if there are rows; without any it is the
/// reason why the answer is incomplete.
pub fn undated(report: &Report<'_>, least: Duration) -> Option<String> {
    (report.undated > 0 && !report.sockets.is_empty()).then(|| {
        let least = humantime::format_duration(least);
        format!("{} more may be older than {least}; `sockleak watch` can tell", report.undated)
    })
}

/// Which holders may be relays, a line each: one look cannot tell. Both sides have to be in the same hands.
pub fn hints(report: &Report<'_>) -> Vec<String> {
    let half_shut = |process: &ProcessRow<'_>| {
        let descriptors = process.descriptors.as_ref()?;
        let mut stranded = descriptors.stranded_as.iter();
        stranded.find(|(verdict, _)| *verdict == Verdict::HalfShut).map(|&(_, count)| count)
    };
    let mut relays: BTreeMap<_, _> = report
        .processes
        .iter()
        .filter_map(|process| Some((process.pid, (half_shut(process)?, false))))
        .collect();
    if relays.is_empty() {
        return Vec::new();
    }
    let has_read = |verdict| matches!(verdict, Some(Verdict::EofRead | Verdict::EofUnread));
    for row in report.sockets.iter().filter(|row| has_read(row.verdict)) {
        if let Some((_, reads)) = row.pid.and_then(|pid| relays.get_mut(&pid)) {
            *reads = true;
        }
    }
    let hint = |process: &ProcessRow<'_>| {
        let &(count, _) = relays.get(&process.pid).filter(|(_, reads)| *reads)?;
        let comm = process.comm.map_or("?".into(), sanitised);
        Some(format!(
            "{comm}[{}]: the holder also has {count} half-shut sockets: it may be a relay whose other \
             sides do not close; `sockleak watch` can tell",
            process.pid
        ))
    };
    report.processes.iter().filter_map(hint).collect()
}

/// Sentences in lines of at most so many columns; where they are too many, the last ones.
pub fn fitted(sentences: &[String], width: usize, height: usize) -> Vec<String> {
    let mut lines: Vec<_> =
        sentences.iter().flat_map(|sentence| wrapped(sentence, width)).collect();
    lines.drain(..lines.len().saturating_sub(height));
    lines
}

/// The state of a `watch` that has nothing to show.
#[derive(Clone, Copy, Debug)]
pub struct Watching {
    /// How many processes there are,
    pub processes: usize,
    /// and how many TCP sockets, if that is known.
    pub sockets: Option<usize>,
    /// Which rows it waits for.
    pub shown: Shown,
    /// True if filters leave some out.
    pub is_filtered: bool,
    /// For how long there have been none.
    pub lasting: Duration,
}

impl fmt::Display for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watching {} processes", Count(self.processes))?;
        if let Some(sockets) = self.sockets {
            write!(f, ", {} TCP sockets", Count(sockets))?;
        }
        write!(f, ": nothing {}", self.shown.word())?;
        f.write_str(if self.is_filtered { " (filtered, " } else { " (" })?;
        match self.lasting.as_secs() {
            seconds @ 0..60 => write!(f, "{seconds} s)"),
            seconds => write!(f, "{})", Span(seconds * 1_000_000_000)),
        }
    }
}
