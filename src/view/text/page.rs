//! A report on a terminal: a summary, as many rows as fit, and what there is to say of them.

use std::io::{self, Write};

use super::lines::ListenerLine;
use super::sentences::{explanations, stale};
use super::summary::summary;
use super::units::Count;
use super::width::{cut, wrapped};
use super::{Style, render_groups, rows};
use crate::host::clock;
use crate::report::Report;
use crate::report::group::Grouped;

/// The share of a page that the lines of its summary may take, and the least number of them.
const SUMMARY_SHARE: usize = 3;
const SUMMARY_LEAST: usize = 4;
/// Rows that come before sentences that a page has no room for.
const ROWS_LEAST: usize = 5;
/// Listeners that are named on a page, at the most.
const LISTENERS: usize = 3;

/// Writes what fits so many lines (`None`: as many as it takes), with `notes` below; nothing at all where
/// there are no rows.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_page(
    report: &Report<'_>,
    style: Style<'_>,
    height: Option<usize>,
    notes: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    if report.sockets.is_empty() {
        return Ok(());
    }
    let most = height.unwrap_or(usize::MAX);
    let mut text = Vec::new();
    if style.time {
        let (bold, plain) = style.bold();
        let time = clock::rfc3339_seconds(report.time).to_string();
        text.extend_from_slice(bold.as_bytes());
        text.extend_from_slice(&cut(time.as_bytes(), style.width()));
        text.extend_from_slice(plain.as_bytes());
        text.push(b'\n');
    }
    let share = height.map_or(usize::MAX, |height| (height / SUMMARY_SHARE).max(SUMMARY_LEAST));
    let room = most.saturating_sub(lines(&text) + usize::from(style.headers));
    summary(report, share.min(room), style.layout(), &mut text)?;

    let wanted = style.rows.unwrap_or(usize::MAX).min(report.sockets.len());
    let around = usize::from(style.headers) + 1;
    let least = match wanted {
        0 => 0,
        wanted => around + wanted.min(ROWS_LEAST),
    };
    let left = most.saturating_sub(lines(&text) + least);
    let below = Below::choose(report, style, notes, left);
    if wanted > 0 {
        let room = most.saturating_sub(lines(&text) + below.lines());
        // Where all fit, there is no line that says how many more there are.
        let all_fit = wanted + around - 1 <= room && wanted == report.sockets.len();
        let shown = if all_fit { wanted } else { wanted.min(room.saturating_sub(around)) };
        rows(report, style, shown, &mut text)?;
    }
    for line in below.0.into_iter().flatten() {
        writeln!(text, "{line}")?;
    }
    write_lines(&text, height, out)
}

/// Writes as many groups as fit so many lines (`None`: all), with `notes` below.
///
/// # Errors
/// Where `out` does not take it.
pub fn render_groups_page(
    grouped: &Grouped,
    style: Style<'_>,
    height: Option<usize>,
    notes: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    let notes: Vec<_> = notes.iter().flat_map(|note| wrapped(note, style.width())).collect();
    let around = [style.time, style.headers, true, style.stale.is_some()];
    let around = around.iter().filter(|&&is_there| is_there).count() + notes.len();
    let fitting = height.map(|height| height.saturating_sub(around));
    let rows = style.rows.into_iter().chain(fitting).min();
    let mut text = Vec::new();
    render_groups(grouped, Style { rows, ..style }, &mut text)?;
    for line in notes {
        writeln!(text, "{line}")?;
    }
    write_lines(&text, height, out)
}

/// Writes at most so many lines: a terminal may be lower than the least that there is to say.
fn write_lines(text: &[u8], most: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    lines.take(most.unwrap_or(usize::MAX)).try_for_each(|line| out.write_all(line))
}

/// Paragraphs below the rows, in lines.
struct Below(Vec<Vec<String>>);

impl Below {
    /// Chooses what so many lines have room for: notes first, explanations last.
    fn choose(report: &Report<'_>, style: Style<'_>, notes: &[String], room: usize) -> Self {
        let is_bounded = room < usize::MAX / 2;
        let mut listeners: Vec<_> =
            report.listeners.iter().map(|listener| ListenerLine(listener).to_string()).collect();
        if is_bounded && listeners.len() > LISTENERS {
            let more = listeners.len() - LISTENERS;
            listeners.truncate(LISTENERS);
            listeners.push(format!("… {} more listeners", Count(more)));
        }
        let explanations = match style.rows {
            Some(0) => Vec::new(),
            _ => explanations(report),
        };
        let stale: Vec<_> = stale(report.scanned_ago, style.stale).into_iter().collect();
        // In the order in which they are read, each with its rank among those that want room.
        let sentences = [(1, listeners), (3, explanations), (2, stale), (0, notes.to_vec())];
        let mut paragraphs: Vec<_> = sentences
            .into_iter()
            .flat_map(|(rank, sentences)| sentences.into_iter().map(move |one| (rank, one)))
            .map(|(rank, sentence)| (rank, wrapped(&sentence, style.width())))
            .enumerate()
            .map(|(at, (rank, lines))| (rank, at, lines))
            .collect();
        paragraphs.sort_by_key(|&(rank, at, _)| (rank, at));
        let mut left = room;
        paragraphs.retain(|(.., lines)| match left.checked_sub(lines.len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        paragraphs.sort_by_key(|&(_, at, _)| at);
        Self(paragraphs.into_iter().map(|(.., lines)| lines).collect())
    }

    fn lines(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}
