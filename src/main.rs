//! Parse, run, and turn the outcome into an exit code.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sockleak::cli::one_line;
use sockleak::command::Cli;
use sockleak::exit::Exit;
use sockleak::sock::name::sanitised;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|error| {
            // Where nobody reads this, the exit code has to do.
            let text = format!("{error:#}");
            let lines: Vec<_> = text.lines().map(sanitised).collect();
            let _ = writeln!(io::stderr(), "sockleak: {}", lines.join("\n"));
            Exit::CannotRun.into()
        }),
        Err(error) if error.use_stderr() => Cli::refuse(env::args_os(), &one_line(&error)),
        Err(help) => {
            // Nobody has to read the help.
            let _ = help.print();
            Exit::Clean.into()
        }
    }
}
