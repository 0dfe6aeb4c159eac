//! How a run ends: the exit code is a contract.

use std::process::ExitCode;

use crate::report::Report;

/// The outcome of a run, with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing is leaked.
    Clean = 0,
    /// At least one socket is.
    Leaked = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Privilege, kernel or BTF is missing.
    CannotRun = 3,
    /// The answer may be incomplete.
    Incomplete = 4,
}

impl From<&Report<'_>> for Exit {
    fn from(report: &Report<'_>) -> Self {
        match (report.complete, report.sockets.is_empty()) {
            (false, _) => Self::Incomplete,
            (true, false) => Self::Leaked,
            (true, true) => Self::Clean,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
