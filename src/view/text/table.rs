//! A table: cells below each other, in columns that are as wide as they need to be, or may be.

use std::borrow::Cow;
use std::io::{self, Write};

use super::width::{cut, width};
use super::{BOLD, PLAIN};
use crate::view::chunks::in_order;

/// Writes a cell of a row.
type Cell<'a, Row> = Box<dyn Fn(&Row, &mut Vec<u8>) -> io::Result<()> + Sync + 'a>;

/// A column: how a cell of it is written.
pub(super) struct Column<'a, Row> {
    title: &'static str,
    to_the_right: bool,
    /// How narrow it may become where not all fits; `None`: it keeps its width.
    least: Option<usize>,
    /// True if it is left out where it would have to become narrower.
    is_optional: bool,
    cell: Cell<'a, Row>,
}

impl<'a, Row> Column<'a, Row> {
    pub(super) fn left(
        title: &'static str,
        cell: impl Fn(&Row, &mut Vec<u8>) -> io::Result<()> + Sync + 'a,
    ) -> Self {
        Self { title, to_the_right: false, least: None, is_optional: false, cell: Box::new(cell) }
    }

    pub(super) fn right(
        title: &'static str,
        cell: impl Fn(&Row, &mut Vec<u8>) -> io::Result<()> + Sync + 'a,
    ) -> Self {
        Self { to_the_right: true, ..Self::left(title, cell) }
    }

    /// The same, but it may become as narrow as this.
    pub(super) fn shrinking_to(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }
}

impl<Row> Column<'_, Row> {
    /// The same, but it is left out where it would have to become narrower still.
    pub(super) fn or_none(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// The least width that it takes.
    fn least(&self, natural: usize) -> usize {
        self.least.map_or(natural, |least| least.max(self.title.len()).min(natural))
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// With a line of titles above.
    pub(super) headers: bool,
    /// Titles stand out.
    pub(super) colour: bool,
    /// How wide it may be.
    pub(super) width: usize,
}

/// Writes rows below each other.
pub(super) fn table<Row, Rows>(
    columns: &[Column<'_, Row>],
    chunks: &[Rows],
    layout: Layout,
    out: &mut impl Write,
) -> io::Result<()>
where
    Rows: Iterator<Item = Row> + Clone + Sync,
{
    let titles = Cells::titles(columns);
    let mut all = Vec::new();
    let make = |rows: &Rows| Cells::of(columns, rows.clone());
    in_order(chunks, make, |cells| {
        all.push(cells);
        Ok(())
    })?;
    let titles = layout.headers.then_some(titles);
    let parts = || titles.iter().chain(&all);
    let widest = |at: usize| parts().map(|cells| cells.widths[at]).max().unwrap_or(0);
    let natural = (0..columns.len()).map(widest).collect();
    let widths = fitting(natural, columns, layout.width);
    let lines = |cells: &Cells| cells.lines(columns, &widths, layout.width);
    if let Some(titles) = &titles {
        let (bold, plain) = if layout.colour { (BOLD, PLAIN) } else { ("", "") };
        let line = lines(titles);
        writeln!(out, "{bold}{}{plain}", String::from_utf8_lossy(line.trim_ascii_end()))?;
    }
    in_order(&all, |cells| Ok(lines(cells)), |lines| out.write_all(&lines))
}

/// The widths of columns, so that all fit, as far as they may become narrower; `None` for those that
/// are left out.
fn fitting<Row>(
    mut widths: Vec<usize>,
    columns: &[Column<'_, Row>],
    most: usize,
) -> Vec<Option<usize>> {
    let mut is_shown = vec![true; columns.len()];
    let least: Vec<_> =
        columns.iter().zip(&widths).map(|(column, &width)| column.least(width)).collect();
    let shown_of = |widths: &[usize], is_shown: &[bool]| {
        let shown = widths.iter().zip(is_shown).filter(|&(_, &is_shown)| is_shown);
        shown.fold(0, |sum: usize, (width, _)| sum.saturating_add(width + 1)).saturating_sub(1)
    };
    for at in (0..columns.len()).rev().filter(|&at| columns[at].is_optional) {
        is_shown[at] = shown_of(&least, &is_shown) <= most;
    }
    // Down to the next widest each time, or by one.
    loop {
        let excess = shown_of(&widths, &is_shown).saturating_sub(most);
        let spare = (0..columns.len()).filter(|&at| is_shown[at] && widths[at] > least[at]);
        let mut spare: Vec<_> = spare.map(|at| (widths[at], at)).collect();
        spare.sort_unstable();
        let Some((widest, at)) = spare.pop().filter(|_| excess > 0) else {
            break;
        };
        let next = spare.pop().map_or(0, |(width, _)| width.min(widest - 1));
        widths[at] = widest.saturating_sub(excess).max(least[at]).max(next);
    }
    widths.into_iter().zip(is_shown).map(|(width, is_shown)| is_shown.then_some(width)).collect()
}

/// The cells of some rows: written before it is known how wide the columns are.
struct Cells {
    text: Vec<u8>,
    /// Where in the text each cell ends.
    ends: Vec<u32>,
    /// How wide the columns of these rows have to be.
    widths: Vec<usize>,
}

impl Cells {
    fn titles<Row>(columns: &[Column<'_, Row>]) -> Self {
        let mut titles = Self { text: Vec::new(), ends: Vec::new(), widths: Vec::new() };
        for column in columns {
            titles.text.extend_from_slice(column.title.as_bytes());
            titles.end();
            titles.widths.push(column.title.len());
        }
        titles
    }

    fn of<Row>(columns: &[Column<'_, Row>], rows: impl Iterator<Item = Row>) -> io::Result<Self> {
        let cells = rows.size_hint().0 * columns.len();
        // On average, they are shorter than this.
        let (text, ends) = (Vec::with_capacity(cells * 12), Vec::with_capacity(cells));
        let mut cells = Self { text, ends, widths: vec![0; columns.len()] };
        for row in rows {
            for (at, column) in columns.iter().enumerate() {
                let begin = cells.text.len();
                (column.cell)(&row, &mut cells.text)?;
                cells.end();
                cells.widths[at] = width(&cells.text[begin..]).max(cells.widths[at]);
            }
        }
        Ok(cells)
    }

    /// Ends a cell. These are a thousand rows, and not 4 GiB.
    fn end(&mut self) {
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// The lines that they make in columns of these widths, none wider than `most`.
    fn lines<Row>(
        &self,
        columns: &[Column<'_, Row>],
        widths: &[Option<usize>],
        most: usize,
    ) -> Vec<u8> {
        let rows = self.ends.len() / columns.len();
        let total = widths.iter().flatten().map(|width| width + 1).sum::<usize>();
        let mut lines = Vec::with_capacity(rows * total);
        let mut begin = 0;
        for ends in self.ends.chunks(columns.len()) {
            let line = lines.len();
            for ((column, &end), &widest) in columns.iter().zip(ends).zip(widths) {
                let end = end as usize;
                let text = &self.text[begin..end];
                begin = end;
                let Some(widest) = widest else { continue };
                let mut padding = widest.checked_sub(width(text));
                let mut cell = Cow::Borrowed(text);
                if padding.is_none() {
                    cell = cut(text, widest);
                    padding = widest.checked_sub(width(&cell));
                }
                let padding = padding.unwrap_or(0);
                let (before, after) = if column.to_the_right { (padding, 0) } else { (0, padding) };
                lines.resize(lines.len() + before, b' ');
                lines.extend_from_slice(&cell);
                lines.resize(lines.len() + after + 1, b' ');
            }
            lines.truncate(line + lines[line..].trim_ascii_end().len());
            if total > most {
                let cut = cut(&lines[line..], most).into_owned();
                lines.truncate(line);
                lines.extend_from_slice(&cut);
            }
            lines.push(b'\n');
        }
        lines
    }
}
