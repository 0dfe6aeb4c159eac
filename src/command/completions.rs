//! `sockleak completions`: completions for a shell.

use std::io::{self, Write};

use anyhow::Result;
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
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "sockleak", &mut script);
        reader_has_gone(io::stdout().write_all(&script))?;
        Ok(Exit::Clean)
    }
}
