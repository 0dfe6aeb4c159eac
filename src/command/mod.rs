//! The subcommands. Each has a file with its options and what it does, and one arm in [`Cli::run`].

mod asked;
mod doctor;
mod events;
mod list;
mod output;
mod watch;

use std::io::{self, Write};

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::output::reader_has_gone;
use crate::exit::Exit;
use crate::host::privilege;
use crate::sock::explain::Topic;

const EXIT_CODES: &str = "\
Exit codes: 0 nothing leaked, 1 leaked, 2 usage, 3 could not run, 4 the answer may be incomplete.";

/// Finds leaked TCP sockets: their connection is over, and a program still keeps them.
///
/// Says which process and descriptor hold them, since when, and what kind of bug it is. Without a
/// subcommand: watch.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Explain a verdict, or an owner `unknown` or `kernel`, with the usual causes and cures, and exit
    #[arg(long, value_name = "VERDICT", global = true)]
    explain: Option<Topic>,
    /// The subcommand; none means `watch`.
    #[command(subcommand)]
    command: Option<Command>,
    /// The options of `watch`.
    #[command(flatten)]
    watch: watch::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is leaked, live; print nothing while nothing is
    #[command(after_help = EXIT_CODES)]
    Watch(Box<watch::Args>),
    /// Show what is leaked now, and exit
    #[command(after_help = EXIT_CODES)]
    List(Box<list::Args>),
    /// Show every TCP state transition as it happens
    ///
    /// A PID is shown only for transitions that the running task makes: connect() leaving CLOSE,
    /// and close() or exit leaving CLOSE_WAIT. All others are made by packets and timers, under
    /// whatever task they interrupt.
    Events(Box<events::Args>),
    /// Show what this host allows, and whether planted sockets are found
    ///
    /// A line for each thing that matters: ok, missing (nothing works without), or limited. At the
    /// end, a socket for each verdict is planted in a network namespace of its own, or on loopback,
    /// and found. The exit code is 0, or 3 where sockleak cannot work.
    #[command(after_long_help = privilege::manual())]
    Doctor(Box<doctor::Args>),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Where the kernel side cannot run, or stdout does not take the answer.
    pub fn run(&self) -> Result<Exit> {
        if let Some(topic) = self.explain {
            return explain(topic);
        }
        match &self.command {
            None => self.watch.run(),
            Some(Command::Watch(args)) => args.run(),
            Some(Command::List(args)) => args.run(),
            Some(Command::Events(args)) => args.run(),
            Some(Command::Doctor(args)) => args.run(),
        }
    }
}

fn explain(topic: Topic) -> Result<Exit> {
    let mut out = io::stdout();
    let text = writeln!(out, "{topic}: {}\n\n{}", topic.summary(), topic.explanation());
    reader_has_gone(text)?;
    Ok(Exit::Clean)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::{Format, one_line};
    use crate::report::Shown;
    use crate::sock::leak::Verdict;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_is_watch_and_takes_its_options() {
        let cli = Cli::try_parse_from(["sockleak", "--interval", "5s", "--json"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.watch.interval, Duration::from_secs(5));
        assert_eq!(cli.watch.report.format.get(), Format::Json);
        assert_eq!(cli.watch.report.query().shown, Shown::Leaked);
    }

    #[test]
    fn each_subcommand_explains() {
        for subcommand in ["watch", "list", "events", "doctor"] {
            let cli = Cli::try_parse_from(["sockleak", subcommand, "--explain", "reset"]).unwrap();
            assert_eq!(cli.explain, Some(Topic::Verdict(Verdict::Reset)), "{subcommand}");
        }
    }

    #[test]
    fn usage_errors_take_one_line_and_name_the_flag_and_the_remedy() {
        for (bad, line) in [
            (&["lst"][..], "unrecognized subcommand 'lst': did you mean 'list'? See --help"),
            (
                &["list", "--jsno"],
                "unexpected argument '--jsno' found: did you mean '--json'? See --help",
            ),
            (&["list", "eth0"], "unexpected argument 'eth0' found; see --help"),
            (
                &["list", "--sort", "beauty"],
                "invalid value 'beauty' for '--sort <KEY>': possible values are age, pid, comm, \
                 local, remote, state, verdict, unread; see --help",
            ),
            (
                &["list", "--sort", "sate"],
                "invalid value 'sate' for '--sort <KEY>': did you mean 'state'? See --help",
            ),
            (
                &["--min-age", "soon"],
                "invalid value 'soon' for '--min-age <DURATION>': give a number of seconds, or \
                 numbers with units, such as 90s, 1m30s or 2h; see --help",
            ),
            (
                &["watch", "--interval"],
                "a value is required for '--interval <DURATION>' but none was supplied; see --help",
            ),
            (
                &["list", "--json", "--format", "text"],
                "the argument '--json' cannot be used with '--format <FORMAT>'; see --help",
            ),
        ] {
            let arguments = [&["sockleak"], bad].concat();
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(one_line(&error), line);
        }
    }
}
