//! Options of subcommands that report again and again: `watch` and `export`.

use std::time::Duration;

use clap::Args;

use super::{HOW, KERNEL, value};
use crate::live::schedule::Budget;

/// How often to report, and at what cost.
#[derive(Debug, Args)]
pub struct PaceArgs {
    /// Report this often
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        value_parser = value::interval,
        help_heading = HOW
    )]
    pub interval: Duration,
    /// How much of one core scans may use, on average
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "1%",
        value_parser = value::budget,
        help_heading = KERNEL
    )]
    pub scan_budget: Budget,
}
