//! Parse, run, and turn the outcome into an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sockleak::cli::one_line;
use sockleak::command::Cli;
use sockleak::exit::Exit;

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|error| failed(&format!("{error:#}"), Exit::CannotRun)),
        Err(error) if error.use_stderr() => failed(&one_line(&error), Exit::Usage),
        Err(help) => {
            // Nobody has to read the help.
            let _ = help.print();
            Exit::Clean
        }
    };
    exit.into()
}

fn failed(message: &str, exit: Exit) -> Exit {
    // Where nobody reads this, the exit code has to do.
    let _ = writeln!(io::stderr(), "sockleak: {message}");
    exit
}
