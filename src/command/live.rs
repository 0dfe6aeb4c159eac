//! Reports of `watch`: pages in place on a terminal, blocks below each other elsewhere.

use std::io;
use std::time::{Duration, Instant};

use super::output::{Output, incomplete};
use super::screen::Screen;
use crate::cli::{Format, ReportArgs};
use crate::host::terminal::{Resumed, Size};
use crate::host::{process, sockets};
use crate::report::Report;
use crate::view::text::{self, Watching};

/// How often processes and sockets are counted for a status.
const COUNTED: Duration = Duration::from_secs(5);

/// Reports, one after the other.
pub(super) struct Live<'a> {
    output: Output<'a>,
    screen: Screen,
    /// True if each report replaces the one before where stdout is a terminal.
    redraws: bool,
    is_text: bool,
    /// True if what is stranded is said in notes: JSON has it in itself.
    has_notes: bool,
    is_filtered: bool,
    /// The last footer that a note has said.
    footer: Option<String>,
    /// Since when there have been no rows.
    quiet: Option<Instant>,
    counted: Option<(Instant, usize, Option<usize>)>,
}

impl<'a> Live<'a> {
    pub(super) fn new(args: &'a ReportArgs, interval: Duration, resumed: Resumed) -> Self {
        let is_text = args.format.get() == Format::Text;
        Self {
            output: Output::new(args, Some(interval)),
            screen: Screen::new(resumed),
            redraws: is_text && !args.how.all,
            is_text,
            has_notes: args.format.get() != Format::Json,
            is_filtered: !args.query().filter.is_empty(),
            footer: None,
            quiet: None,
            counted: None,
        }
    }

    /// Says something beside the reports.
    pub(super) fn note(&mut self, message: &str) {
        self.screen.note(message);
    }

    /// Shows a report, and what there is to say of it.
    pub(super) fn show(&mut self, report: &Report<'_>) -> io::Result<()> {
        self.screen.look_around();
        let is_empty = self.output.is_empty(report);
        let page = self.screen.size().filter(|_| self.redraws);
        let shown = match page {
            Some(size) if !is_empty => {
                let notes = self.sentences(report);
                let page = self.output.page(report, size, true, &notes)?;
                self.screen.draw(&page)
            }
            Some(_) => self.screen.clear(),
            None => {
                // A status may be on the same terminal, or on another.
                if !is_empty && self.is_text {
                    self.screen.clear()?;
                }
                self.output.write(report, &mut io::stdout())
            }
        };
        self.say(report, is_empty, page.is_some());
        shown
    }

    /// Says what is not on the page: in a status, or in notes.
    fn say(&mut self, report: &Report<'_>, is_empty: bool, has_page: bool) {
        if !is_empty {
            self.quiet = None;
        }
        if is_empty
            && self.is_text
            && let Some(size) = self.screen.size_of_status()
        {
            return self.show_status(report, size);
        }
        if has_page && self.screen.has_notes() {
            return;
        }
        for reason in incomplete(report, self.output.args) {
            self.screen.note(reason);
        }
        let footer = text::footer(report);
        if self.has_notes && footer != self.footer {
            self.screen.note(footer.as_deref().unwrap_or("nothing is stranded any more"));
            self.footer = footer;
        }
    }

    /// Says for how long there have been no rows.
    fn show_status(&mut self, report: &Report<'_>, size: Size) {
        let now = Instant::now();
        let quiet = *self.quiet.get_or_insert(now);
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < COUNTED;
        let counted = self.counted.filter(|(at, ..)| is_fresh(at));
        let counted = counted.unwrap_or_else(|| (now, process::all().count(), sockets::tcp()));
        self.counted = Some(counted);
        let watching = Watching {
            processes: counted.1,
            sockets: counted.2,
            shown: report.shown,
            is_filtered: self.is_filtered,
            lasting: now.saturating_duration_since(quiet),
        };
        let mut sentences = self.sentences(report);
        sentences.push(watching.to_string());
        self.screen.show_status(&text::fitted(
            &sentences,
            size.width,
            size.height.saturating_sub(1),
        ));
    }

    /// Sentences about a report in any case.
    fn sentences(&self, report: &Report<'_>) -> Vec<String> {
        incomplete(report, self.output.args).into_iter().chain(text::footer(report)).collect()
    }
}
