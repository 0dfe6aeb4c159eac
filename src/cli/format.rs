//! In which form, and in which colours.

use std::env;

use clap::{ArgAction, Args, ValueEnum};

/// In which form.
#[derive(Debug, Args)]
#[command(next_help_heading = super::HOW)]
pub struct FormatArgs {
    /// Print for people, for programs (one JSON object a line), or for spreadsheets
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Short for --format json
    #[arg(short, long, action = ArgAction::SetTrue, conflicts_with = "format")]
    json: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Text,
    /// One JSON object a line
    Json,
    /// A record for each row, as RFC 4180 has it
    Csv,
    /// Metrics for Prometheus, in text format 0.0.4: only list has them
    Prometheus,
}

/// How much of a report becomes metrics.
#[derive(Clone, Copy, Debug, Args)]
pub struct MetricsArgs {
    /// Give so many groups of processes metrics of their own: those that leak most
    ///
    /// A group is all processes of the same name in the same unit or container. All others together are
    /// named (other).
    ///
    /// Example: --top 100
    #[arg(
        long,
        value_name = "GROUPS",
        default_value_t = 30,
        value_parser = super::value::number,
        help_heading = super::HOW
    )]
    pub top: usize,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// In pipes and files, too
    Always,
    /// Not at all
    Never,
}

impl FormatArgs {
    /// The form that was asked for.
    pub fn get(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

impl Colour {
    /// True if output of this kind has colours.
    pub fn is_on(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}
