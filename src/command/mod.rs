//! The subcommands. Each has a file with its options and what it does, and one arm in [`Cli::run`].

mod asked;
mod check;
pub mod completions;
mod doctor;
mod events;
mod export;
mod list;
mod live;
pub mod manual;
mod output;
mod replace;
mod run;
mod screen;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::manual::{EXIT_CODES, RUN_EXIT_CODES};
use self::output::{note, reader_has_gone};
use crate::cli::{WHAT, words};
use crate::exit::Exit;
use crate::follow::gate::FAILED;
use crate::sock::explain::Topic;

/// Finds leaked TCP sockets: their connection is over, and a program still keeps them.
///
/// Says which process and descriptor hold them, since when, and what kind of bug it is. Without a
/// subcommand: watch.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXIT_CODES,
    after_long_help = manual::help("watch")
)]
pub struct Cli {
    /// Explain a verdict, or an owner `unknown` or `kernel`, with the usual causes and cures, and exit
    ///
    /// Example: --explain half-shut
    #[arg(
        long,
        value_name = "VERDICT",
        global = true,
        value_parser = words::topics(),
        hide_possible_values = true,
        help_heading = WHAT
    )]
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
    #[command(after_help = EXIT_CODES, after_long_help = manual::help("watch"))]
    Watch(Box<watch::Args>),
    /// Show what is leaked now, and exit
    #[command(after_help = EXIT_CODES, after_long_help = manual::help("list"))]
    List(Box<list::Args>),
    /// Serve metrics of what is leaked to Prometheus
    ///
    /// Each interval a report is made; /metrics answers with the last one, in text format 0.0.4, and
    /// never scans. /-/ready answers 503 before the first report, /-/healthy while reports do not come.
    /// The log has a line when a process begins to leak, and one when that ends. A signal ends it with
    /// exit code 0.
    #[command(mut_arg("min_age", |arg| arg.default_value("1m")))]
    #[command(mut_arg("interval", |arg| arg.default_value("15s")))]
    #[command(after_long_help = manual::help("export"))]
    Export(Box<export::Args>),
    /// Answer Nagios, Icinga or Zabbix: one line with performance data, and an exit code
    ///
    /// All of it is on stdout: usage errors, too, and what prevents an answer; these are UNKNOWN.
    #[command(after_help = manual::CHECK_CODES, after_long_help = manual::help("check"))]
    #[command(mut_arg("min_age", |arg| arg.default_value("1m")))]
    #[command(mut_arg("comm", |arg| arg.short(None)))]
    Check(Box<check::Args>),
    /// Show every TCP state transition as it happens
    ///
    /// A PID is shown only for transitions that the running task makes: connect() leaving CLOSE,
    /// and close() or exit leaving CLOSE_WAIT. All others are made by packets and timers, under
    /// whatever task they interrupt.
    #[command(after_long_help = manual::help("events"))]
    Events(Box<events::Args>),
    /// Run a command, and fail it if it leaks sockets: a gate for tests and CI
    ///
    /// A socket counts that was dead (its connection over) for longer than --min-age when its last
    /// holder exited, or when its process closed it in its last moments, or that is still held when the
    /// command ends. All descendants of the command are followed. The report goes to stderr; a command
    /// that leaks nothing gets none.
    ///
    /// Under sudo, the command runs as the user who called sudo.
    #[command(
        after_help = RUN_EXIT_CODES,
        after_long_help = manual::help("run"),
        override_usage = "sockleak run [OPTIONS] -- CMD [ARG]..."
    )]
    Run(Box<run::Args>),
    /// Show what this host allows, and whether planted sockets are found
    ///
    /// A line for each thing that matters: ok, missing (nothing works without), or limited. At the
    /// end, a socket for each verdict is planted in a network namespace of its own, or on loopback,
    /// and found. The exit code is 0, or 3 where sockleak cannot work.
    #[command(after_long_help = manual::help("doctor"))]
    Doctor(Box<doctor::Args>),
    /// Print completions for a shell: of options, states, verdicts and columns
    #[command(after_long_help = manual::help("completions"))]
    Completions(completions::Args),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Where the kernel side cannot run, or stdout does not take the answer.
    pub fn run(&self) -> Result<ExitCode> {
        if let Some(topic) = self.explain {
            return explain(topic).map(ExitCode::from);
        }
        let exit = match &self.command {
            None => self.watch.run(),
            Some(Command::Watch(args)) => args.run(),
            Some(Command::List(args)) => args.run(),
            Some(Command::Events(args)) => args.run(),
            Some(Command::Run(args)) => args.run(),
            Some(Command::Doctor(args)) => args.run(),
            Some(Command::Completions(args)) => args.run(),
            Some(Command::Export(args)) => args.run(),
            Some(Command::Check(args)) => return Ok(args.run()),
        };
        exit.map(ExitCode::from)
    }

    /// Refuses a command line, in the words of the subcommand that it asks for. Under `run`, all codes
    /// but one may be the command's.
    pub fn refuse(arguments: impl IntoIterator<Item = OsString>, problem: &str) -> ExitCode {
        match arguments.into_iter().nth(1) {
            Some(subcommand) if subcommand == "check" => check::unknown(problem),
            subcommand => {
                note(problem);
                let is_run = subcommand.is_some_and(|subcommand| subcommand == "run");
                if is_run { Exit::Run(FAILED).into() } else { Exit::Usage.into() }
            }
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

    /// Every command with its options.
    fn all() -> Vec<clap::Command> {
        let command = Cli::command();
        let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
        [command].into_iter().chain(subcommands).collect()
    }

    #[test]
    fn every_long_text_has_an_example() {
        for command in all() {
            let end = command.get_after_long_help().unwrap().to_string();
            assert!(end.contains("Examples:\n"), "{}", command.get_name());
            for option in command.get_arguments() {
                let text = option.get_long_help().map(ToString::to_string);
                let has_one = text.as_ref().is_none_or(|text| text.contains("Example: "));
                assert!(has_one, "{} in {}: {text:?}", option.get_id(), command.get_name());
            }
        }
    }

    #[test]
    fn every_example_is_a_command() {
        for usage in manual::USAGES {
            assert!(Cli::command().find_subcommand(usage.name).is_some(), "{}", usage.name);
            for (example, _) in usage.examples {
                let (arguments, _) = example.split_once(" >").unwrap_or((example, ""));
                let parsed = Cli::try_parse_from(arguments.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
            }
            // Each flag that a synopsis names exists.
            let command = Cli::command();
            let command = command.find_subcommand(usage.name).unwrap();
            for word in usage.synopsis.join(" ").split(['[', ']', ' ', '|']) {
                let is_known = |option: &clap::Arg| {
                    let long = option.get_long().map(|long| format!("--{long}"));
                    let short = option.get_short().map(|short| format!("-{short}"));
                    long.as_deref() == Some(word) || short.as_deref() == Some(word)
                };
                let is_flag = word.starts_with('-') && word != "--";
                assert!(
                    !is_flag || command.get_arguments().any(is_known),
                    "{word} in {}",
                    usage.name
                );
            }
        }
        assert_eq!(Cli::command().get_subcommands().count(), manual::USAGES.len());
    }

    #[test]
    fn every_command_in_the_documentation_is_one() {
        let pages = [
            include_str!("../../README.md"),
            include_str!("../../docs/ci.md"),
            include_str!("../../docs/fleet.md"),
            include_str!("../../docs/privileges.md"),
            include_str!("../../docs/text.md"),
            include_str!("../../docs/verdicts.md"),
        ];
        let mut commands = 0;
        for line in pages.iter().flat_map(|page| page.lines()) {
            let Some(typed) = line.strip_prefix("$ ") else { continue };
            let typed = typed.strip_prefix("sudo ").unwrap_or(typed);
            let typed = typed.split(" #").next().unwrap_or_default();
            let words: Vec<_> = typed.split_whitespace().collect();
            if words.first() != Some(&"sockleak") {
                continue;
            }
            commands += 1;
            let Err(error) = Cli::try_parse_from(words) else { continue };
            // Not every host has each user.
            let is_of_here = error.kind() == clap::error::ErrorKind::ValueValidation
                && error.to_string().contains("--user");
            assert!(is_of_here, "{line}: {error}");
        }
        assert!(commands > 20, "{commands}");
    }

    #[test]
    fn short_flags_have_long_ones() {
        let command = Cli::command();
        let list = command.find_subcommand("list").unwrap();
        let short: Vec<_> = list
            .get_arguments()
            .filter_map(|option| Some((option.get_short()?, option.get_long()?)))
            .collect();
        for pair in [
            ('p', "pid"),
            ('c', "comm"),
            ('u', "user"),
            ('n', "rows"),
            ('a', "all"),
            ('o', "columns"),
            ('O', "output"),
            ('j', "json"),
            ('s', "state"),
        ] {
            assert!(short.contains(&pair), "{pair:?} in {short:?}");
        }
    }

    #[test]
    fn nothing_is_watch_and_takes_its_options() {
        let cli = Cli::try_parse_from(["sockleak", "--interval", "5s", "--json"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.watch.pace.interval, Duration::from_secs(5));
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
                &["completions"],
                "the following required arguments were not provided: <SHELL>; see --help",
            ),
            (
                &["list", "--summary", "-n", "3", "--peer"],
                "the argument '--summary' cannot be used with: --rows <ROWS>, --peer; see --help",
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
