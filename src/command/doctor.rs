//! `sockleak doctor`: what this host allows.

use std::io;

use anyhow::Result;

use super::output::{has_no_metrics, note, reader_has_gone};
use crate::cli::{BtfArgs, Format, FormatArgs};
use crate::doctor::checks::checks;
use crate::doctor::facts::Facts;
use crate::doctor::{Diagnosis, SCHEMA, SelfTest};
use crate::exit::Exit;
use crate::probe::variants::KernelFacts;
use crate::view::{doctor, json};

/// The options of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// In which form.
    #[command(flatten)]
    format: FormatArgs,
    /// Where types come from.
    #[command(flatten)]
    btf: BtfArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit> {
        if self.format.get() == Format::Csv {
            note(
                "invalid value 'csv' for '--format <FORMAT>': a diagnosis is no table; give text or json",
            );
            return Ok(Exit::Usage);
        }
        if has_no_metrics(&self.format) {
            return Ok(Exit::Usage);
        }
        let btf = self.btf.file.clone();
        let facts = Facts::gather(btf.as_deref());
        let kernel = facts.types.as_ref().map_or(KernelFacts::all(), |types| types.kernel);
        let diagnosis = Diagnosis {
            schema: SCHEMA,
            checks: checks(&facts),
            kernel: facts.release,
            arch: facts.machine,
            self_test: SelfTest::run(btf, kernel),
        };
        reader_has_gone(match self.format.get() {
            Format::Text => doctor::render(&diagnosis, &mut io::stdout()),
            _ => json::render(&diagnosis, &mut io::stdout()),
        })?;
        Ok(match diagnosis.is_fit() {
            true => Exit::Clean,
            false => Exit::CannotRun,
        })
    }
}
