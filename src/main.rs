//! Parse, run, and turn the outcome into an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use sockleak::cli::{Cli, Command, one_line};
use sockleak::command::{doctor, events, list, watch};
use sockleak::exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            // A closed pipe is the reader's business.
            let _ = error.print();
            return Exit::Clean.into();
        }
        Err(error) => return fail(&one_line(&error), Exit::Usage),
    };
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Clean.into(),
        Err(error) => fail(&format!("{error:#}"), Exit::CannotRun),
    }
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let report = match &cli.command {
        None => Some(&cli.watch.report),
        Some(Command::Watch(args)) => Some(&args.report),
        Some(Command::List(args)) => Some(&**args),
        Some(Command::Events(_) | Command::Doctor(_)) => None,
    };
    if let Some(verdict) = report.and_then(|args| args.explain) {
        writeln!(io::stdout(), "{verdict}: {}\n\n{}", verdict.summary(), verdict.explanation())?;
        return Ok(Exit::Clean);
    }
    match &cli.command {
        None => watch::run(&cli.watch),
        Some(Command::Watch(args)) => watch::run(args),
        Some(Command::List(args)) => list::run(args),
        Some(Command::Events(args)) => events::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().map(io::Error::kind)
    };
    error.chain().filter_map(kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

fn fail(message: &str, exit: Exit) -> ExitCode {
    // With stderr closed too, the exit code has to do.
    let _ = writeln!(io::stderr(), "sockleak: {message}");
    exit.into()
}
