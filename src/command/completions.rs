//! `sockleak completions`: completions for a shell.

mod words;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::Cli;
use super::output::reader_has_gone;
use crate::exit::Exit;

/// The options of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        let script = script(self.shell)?;
        reader_has_gone(io::stdout().write_all(script.as_bytes()))?;
        Ok(Exit::Clean)
    }
}

/// The script that completes options, states, verdicts and columns in a shell.
///
/// # Errors
/// Where words cannot be added to what `clap_complete` has made.
pub fn script(shell: Shell) -> Result<String> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    generate(shell, &mut command, "sockleak", &mut script);
    let script = String::from_utf8_lossy(&script);
    words::added(shell, &command, &script).with_context(|| format!("no words for {shell}"))
}
