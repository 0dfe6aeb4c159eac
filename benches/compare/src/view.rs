//! Shows the results: as tables, for the terminal and for `docs/performance.md`, and as JSON.

mod tables;

use std::fs;
use std::io::{self, Write};

use anyhow::Result;

use crate::options::Options;
use crate::results::Results;

/// Text of the page. The tables are filled in.
const PAGE: &str = include_str!("../performance.md");

/// A table.
pub(crate) struct Table {
    /// Its place in the page: `{{name}}`.
    name: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Prints the tables, and writes the files.
pub(crate) fn publish(results: &Results, options: &Options) -> Result<()> {
    let tables = tables::all(results);
    let mut out = io::stdout().lock();
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        writeln!(out, "\n{}\n{}", table.name, table.aligned())?;
    }
    let json = serde_json::to_string_pretty(results)?;
    if let Some(folder) = options.json.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&options.json, json + "\n")?;
    writeln!(out, "written: {}", options.json.display())?;
    if let Some(page) = &options.page {
        fs::write(page, filled_in(&tables))?;
        writeln!(out, "written: {}", page.display())?;
    }
    Ok(())
}

/// Puts the tables into their places in the page.
fn filled_in(tables: &[Table]) -> String {
    tables
        .iter()
        .fold(PAGE.to_owned(), |page, table| page.replace(&table.place(), &table.markdown()))
}

impl Table {
    fn place(&self) -> String {
        format!("{{{{{}}}}}", self.name)
    }

    /// Formats the table for a terminal: text to the left, figures to the right.
    fn aligned(&self) -> String {
        let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        let lines = || [&head].into_iter().chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| match is_text(self.head[column]) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn markdown(&self) -> String {
        if self.rows.is_empty() {
            return "(not measured in this run)".to_owned();
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = |head: &&str| if is_text(head) { "---" } else { "---:" };
        let mut lines =
            vec![line(&mut self.head.iter().copied()), line(&mut self.head.iter().map(rule))];
        for row in &self.rows {
            lines.push(line(&mut row.iter().map(String::as_str)));
        }
        lines.join("\n")
    }
}

/// True for a column with text. All others have figures.
fn is_text(head: &str) -> bool {
    matches!(head, "tool" | "what" | "value" | "command" | "reach" | "measured" | "met")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn every_place_in_the_page_has_its_table() {
        let tables = tables::all(&Results::new(Host::default()));
        assert!(!filled_in(&tables).contains("{{"));
        let missing = tables.iter().filter(|table| !PAGE.contains(&table.place()));
        // Two sockleaks are compared in a run of their own, which writes no page.
        assert_eq!(missing.map(|table| table.name).collect::<Vec<_>>(), ["against"]);
    }
}
