//! How a run ends: the exit code is a contract.

use std::process::ExitCode;

use crate::report::Report;

/// The outcome of a run, with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing is leaked.
    Clean,
    /// At least one socket is.
    Leaked,
    /// The command line makes no sense.
    Usage,
    /// Privilege, kernel or BTF is missing.
    CannotRun,
    /// The answer may be incomplete.
    Incomplete,
    /// `sockleak run`: mostly the command's own code.
    Run(u8),
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Leaked => 1,
            Self::Usage => 2,
            Self::CannotRun => 3,
            Self::Incomplete => 4,
            Self::Run(code) => code,
        }
    }
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
        Self::from(exit.code())
    }
}
