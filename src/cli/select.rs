//! Options of subcommands that are about what is leaked, and nothing else: `export` and `check`.

use std::time::Duration;

use clap::Args;

use super::{ConnArgs, KernelArgs, PROCESSES, WhoArgs, WhoseArgs, value};
use crate::live::monitor::Rules;
use crate::probe::Config;
use crate::report::Query;
use crate::sock::state::StateSet;

/// How sockets are judged.
#[derive(Debug, Args)]
#[command(next_help_heading = super::WHAT)]
pub struct JudgeArgs {
    /// Count a connection as idle when nothing has moved on it for so long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = value::duration)]
    pub idle: Duration,
    /// Wait so long before the second look at sockets that may be about to be closed
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = value::duration)]
    pub settle: Duration,
}

/// Which leaked sockets count.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// How they are judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Whose sockets.
    #[command(flatten)]
    pub who: WhoArgs,
    /// Which processes.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// Which connections.
    #[command(flatten)]
    pub conn: ConnArgs,
    /// Options of the kernel side.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

impl JudgeArgs {
    /// The rules to judge by, for all candidates, and the sockets in the states `watched`.
    pub(crate) fn rules(&self, watched: StateSet) -> Rules {
        Rules { watched, idle: nanoseconds(self.idle), settle: nanoseconds(self.settle) }
    }
}

impl SelectArgs {
    /// The programs to load: those that scan, and those that see sockets change between the states
    /// `transitions`.
    pub(crate) fn config(&self, transitions: StateSet) -> Config {
        let filter = self.query().filter;
        let asks_for_processes = filter.is_on_processes() || filter.asks_for_executables();
        Config {
            watched: StateSet::NONE,
            transitions,
            scans: true,
            ring_size: self.kernel.ring_size,
            btf: self.kernel.btf.file.clone(),
            kept: if asks_for_processes { &[PROCESSES] } else { &[] },
        }
    }

    /// The rules to judge by.
    pub(crate) fn rules(&self) -> Rules {
        self.judge.rules(StateSet::NONE)
    }

    /// The leaked sockets, oldest first.
    pub(crate) fn query(&self) -> Query {
        let Rules { idle, settle, .. } = self.rules();
        let filter = self.who.filter(&self.whose, &self.conn);
        Query { filter, idle, settle, ..Query::default() }
    }

    /// The least age of a socket that counts.
    pub(crate) fn min_age(&self) -> Duration {
        self.who.min_age.unwrap_or_default()
    }
}

/// Durations on the command line are at most a hundred years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
