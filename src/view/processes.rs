//! The processes of a report by their numbers: facts about holders that rows do not have.

use rustc_hash::FxHashMap;

use crate::report::column::Column;
use crate::report::row::{Ownership, SocketRow};
use crate::report::{ProcessRow, Report};
use crate::sock::event::Pid;
use crate::sock::name::sanitised;

/// The processes that hold rows.
pub(super) struct Processes<'a>(FxHashMap<Pid, &'a ProcessRow<'a>>);

impl<'a> Processes<'a> {
    pub(super) fn of(report: &'a Report<'_>) -> Self {
        Self(report.processes.iter().map(|process| (process.pid, process)).collect())
    }

    /// One of the facts that tell whose a row is, where it is known.
    pub(super) fn whose(&self, column: Column, row: &SocketRow<'_>) -> Option<String> {
        let identity = self.get(row)?.identity;
        let fact = match column {
            Column::Cmd => identity.cmdline.as_ref().map(|arguments| arguments.join(" ")),
            Column::Exe => identity.exe.clone(),
            Column::User => identity.user.clone().or_else(|| Some(row.uid?.to_string())),
            Column::Unit => identity.unit.clone(),
            Column::Container => identity.container_name(),
            Column::Pod => identity.pod_name(),
            _ => None,
        };
        fact.filter(|fact| !fact.is_empty()).map(|fact| sanitised(&fact).into_owned())
    }

    /// The process that holds a row.
    pub(super) fn get(&self, row: &SocketRow<'_>) -> Option<&'a ProcessRow<'a>> {
        self.0.get(&row.pid?).copied()
    }
}

/// The word for a holder that is no process.
pub(super) fn nobody(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Kernel => "(kernel)",
        Ownership::Unknown => "(unknown)",
        Ownership::Held | Ownership::Listener => "-",
    }
}
