//! The benchmark's own options: which parts to measure, and where the results go.

use std::path::PathBuf;

/// Options of a run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/release/sockleak")]
    pub(crate) sockleak: PathBuf,
    /// Another sockleak: compare the two, and nothing else
    #[arg(long, conflicts_with = "page")]
    pub(crate) against: Option<PathBuf>,
    /// Five minutes instead of half an hour: for trying out, not for publishing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// The folder with the results of `cargo bench --bench table`
    #[arg(long, default_value = "target/criterion")]
    pub(crate) criterion: PathBuf,
    /// Write the figures to this file
    #[arg(long, default_value = "target/bench.json")]
    pub(crate) json: PathBuf,
    /// Write the page to this file; without it no page is written
    #[arg(long)]
    pub(crate) page: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// From exec to the first report of `watch`
    Start,
    /// A host with few processes and few sockets
    Small,
    /// Up to 100,000 leaked sockets
    List,
    /// Few leaked sockets beside 100,000 healthy connections
    Healthy,
    /// Connections that come and go as fast as they can
    Churn,
    /// The same beside 10,000 leaked sockets
    Standing,
    /// `watch` alone: idle, and with 100,000 leaked sockets
    Load,
    /// `export`, with nothing leaked, and with up to 100,000 leaked sockets
    Export,
    /// The table alone, without a kernel
    Table,
}

impl Options {
    /// True for a part that is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}
