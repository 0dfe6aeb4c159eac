//! Why the kernel's side cannot run.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{io, mem};

use libbpf_rs::{PrintLevel, set_print};
use thiserror::Error;

use crate::host::limits::TooLow;
use crate::host::privilege::{self, Missing};
use crate::host::seccomp;

/// Why it cannot work here. One line, with the remedy.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Without privilege.
    #[error("missing {0}: {remedy}", remedy = privilege::remedy())]
    Privilege(Missing),
    /// Behind a seccomp filter.
    #[error(
        "a seccomp filter refuses bpf(), although the capabilities are there: {}",
        seccomp::REMEDY
    )]
    Seccomp,
    /// Within too low a limit.
    #[error("{0}")]
    Limit(TooLow),
    /// Without a /proc that shows us.
    #[error("cannot find our PID namespace in /proc: {0}: mount it (mount -t proc proc /proc)")]
    NoProc(io::Error),
    /// Without type information on the kernel.
    #[error(
        "no type information (BTF) on this kernel: use a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y; if this one is, and only hides /sys/kernel/btf, give a copy of \
         its vmlinux with --btf FILE"
    )]
    NoBtf,
    /// With a file that holds no type information.
    #[error("cannot use --btf {}: {why}: {}", .file.display(), BTF_REMEDY)]
    BadBtf {
        /// The file.
        file: PathBuf,
        /// The fault in it.
        why: String,
    },
    /// Where BPF's memory counts as locked memory, with too low a limit.
    #[error(
        "cannot lock enough memory: Linux before 5.11 counts that of BPF as locked: run \
         `ulimit -l unlimited` first, or give it {needs}",
        needs = privilege::MEMORY.names()
    )]
    LockedMemory,
    /// The kernel has refused something.
    #[error("cannot {action}: {error}{}", first_note(.notes))]
    Refused {
        /// The attempt.
        action: &'static str,
        /// The error that libbpf returns.
        error: libbpf_rs::Error,
        /// The lines that libbpf has printed about it.
        notes: Vec<String>,
    },
    /// A system call has failed.
    #[error("cannot {action}: {error}")]
    Io {
        /// The attempt.
        action: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

/// The remedy where the file given with `--btf` does not help.
const BTF_REMEDY: &str = "give a copy of this kernel's /sys/kernel/btf/vmlinux, or its vmlinux \
                          with BTF inside, of 64 MiB at most (no file helps a kernel built without \
                          CONFIG_DEBUG_INFO_BTF)";

impl ProbeError {
    pub(super) fn bad_btf(file: &Path, why: impl ToString) -> Self {
        Self::BadBtf { file: file.to_owned(), why: why.to_string() }
    }
}

fn first_note(notes: &[String]) -> String {
    // The first names the culprit; what follows is the verifier's log, and who else failed then.
    notes.first().map_or_else(String::new, |note| format!(" ({note})"))
}

/// Lines that libbpf has printed at Warn: the reasons for errors, which themselves carry only numbers.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(super) fn collect_notes() {
    set_print(Some((PrintLevel::Warn, |_, line| {
        if let Ok(mut notes) = NOTES.lock() {
            notes.push(line.trim().to_owned());
        }
    })));
}

/// Forgets what was printed about a failure that is none.
pub(super) fn take_notes() -> Vec<String> {
    NOTES.lock().map(|mut notes| mem::take(&mut *notes)).unwrap_or_default()
}

pub(super) fn refused(action: &'static str) -> impl FnOnce(libbpf_rs::Error) -> ProbeError {
    move |error| ProbeError::Refused { action, error, notes: take_notes() }
}

pub(super) fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> ProbeError {
    move |error| ProbeError::Io { action, error: error.into() }
}
