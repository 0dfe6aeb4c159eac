//! A screen that is redrawn in place, and what is said beside it without tearing it.

use std::fmt::Display;
use std::io::{self, Write};

use crate::host::terminal::{self, Resumed, Size};

/// The place of text that will be replaced: the last lines of a terminal.
pub(super) struct Screen {
    /// True if stdout and stderr are the same terminal.
    are_one: bool,
    /// True if a reader of stdout may write to the terminal that stderr is.
    is_piped: bool,
    drawn: Option<Drawn>,
    resumed: Resumed,
}

/// Text that is on a terminal, and will be replaced.
struct Drawn {
    stream: Stream,
    lines: usize,
    size: Option<Size>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn size(self) -> Option<Size> {
        match self {
            Self::Stdout => terminal::size(&io::stdout()),
            Self::Stderr => terminal::size(&io::stderr()),
        }
    }

    /// Writes all at once, so that no terminal shows a half of it.
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
        }
    }
}

impl Screen {
    pub(super) fn new(resumed: Resumed) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let both = terminal::size(&out).is_some() && terminal::size(&err).is_some();
        Self {
            are_one: both && terminal::are_one(&out, &err),
            is_piped: terminal::is_pipe(&out),
            drawn: None,
            resumed,
        }
    }

    /// Forgets what was drawn before somebody else had the terminal: nobody knows where that is now.
    pub(super) fn look_around(&mut self) {
        if self.resumed.take() {
            self.drawn = None;
        }
    }

    /// The size of the terminal that stdout is, if it is one.
    pub(super) fn size(&self) -> Option<Size> {
        Stream::Stdout.size()
    }

    /// The size of the terminal that stderr is, if it is one, and nobody else writes there.
    pub(super) fn size_of_status(&self) -> Option<Size> {
        Stream::Stderr.size().filter(|_| !self.is_piped)
    }

    /// True if stdout and stderr are the same terminal.
    pub(super) fn has_notes(&self) -> bool {
        self.are_one
    }

    /// Replaces what is on the screen by a page on stdout.
    pub(super) fn draw(&mut self, page: &[u8]) -> io::Result<()> {
        self.replace(Stream::Stdout, page)
    }

    /// Replaces what is on the screen by a status on stderr.
    pub(super) fn show_status(&mut self, lines: &[String]) {
        // As for every note, nobody has to see it.
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        let _ = self.replace(Stream::Stderr, text.as_bytes());
    }

    /// Takes what is on the screen away.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        match self.drawn.take() {
            None => Ok(()),
            Some(drawn) => drawn.stream.write(format!("{}\x1b[J", drawn.begin()).as_bytes()),
        }
    }

    /// Says something on stderr that stays. The next report draws again what was on the screen.
    pub(super) fn note(&mut self, message: impl Display) {
        let is_near = |drawn: &Drawn| self.are_one || drawn.stream == Stream::Stderr;
        if self.drawn.as_ref().is_some_and(is_near) {
            let _ = self.clear();
        }
        super::output::note(message);
    }

    fn replace(&mut self, stream: Stream, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return self.clear();
        }
        if self.drawn.as_ref().is_some_and(|drawn| drawn.stream != stream && !self.are_one) {
            self.clear()?;
        }
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        let now = Drawn { stream, lines, size: stream.size() };
        match self.drawn.replace(now) {
            None => stream.write(text),
            Some(before) => stream.write(&over(&before, text, lines)),
        }
    }
}

impl Drawn {
    /// Moves the cursor to where it begins. After a change of its size nobody knows where the lines of a
    /// terminal are: then to the top.
    fn begin(&self) -> String {
        match self.stream.size() == self.size {
            true => format!("\x1b[{}A\r", self.lines),
            false => "\x1b[H".to_owned(),
        }
    }
}

/// Text in the place of what was drawn before. Each line is cleared when its turn comes: tmux takes a
/// screen that is cleared as a whole for history.
fn over(before: &Drawn, text: &[u8], lines: usize) -> Vec<u8> {
    let mut bytes = before.begin().into_bytes();
    for (at, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        // Before the text: at the end of a line that is full, the cursor is on its last character.
        bytes.extend_from_slice(if at == lines { b"\x1b[J" } else { b"\x1b[K" });
        bytes.extend_from_slice(line);
    }
    bytes
}
