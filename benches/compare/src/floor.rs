//! The least cost of any BPF tool, and the kernel's own statistics of programs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::thread;

use anyhow::{Context, Result};
use libbpf_rs::Iter;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::role::say;

// The generated code follows other rules.
#[allow(clippy::all, missing_docs, unreachable_pub, unsafe_code, warnings)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/floor.skel.rs"));
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Counts the sockets in CLOSE_WAIT that descriptors refer to.
pub(crate) fn count() -> Result<()> {
    let mut object = MaybeUninit::uninit();
    let mut open = skeleton::FloorSkelBuilder::default().open(&mut object)?;
    open.progs.do_nothing.set_autoload(false);
    let loaded = open.load()?;
    let link = loaded.progs.count_files.attach()?;
    io::copy(&mut Iter::new(&link)?, &mut io::sink())?;
    let bss = loaded.maps.bss_data.as_deref();
    say(&bss.context("no .bss")?.counted)
}

/// Number of empty programs.
#[derive(clap::Args)]
pub(crate) struct NothingArgs {
    /// Attach the program so many times
    #[arg(long, default_value_t = 1)]
    links: usize,
}

/// Attaches an empty program, prints a line, and waits for a signal.
pub(crate) fn nothing(args: &NothingArgs) -> Result<()> {
    let mut object = MaybeUninit::uninit();
    let mut open = skeleton::FloorSkelBuilder::default().open(&mut object)?;
    open.progs.count_files.set_autoload(false);
    let loaded = open.load()?;
    let attach = |_| loaded.progs.do_nothing.attach();
    let _links = (0..args.links).map(attach).collect::<libbpf_rs::Result<Vec<_>>>()?;
    // As a tool under measurement it has no stdin to wait for.
    set_pdeathsig(Signal::SIGKILL)?;
    say(&())?;
    loop {
        thread::park();
    }
}

/// BPF programs, other than iterators, that a process has descriptors of.
pub(crate) fn program_ids(pid: i32) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    let mut iterators = BTreeSet::new();
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    for info in infos.into_iter().flatten().flatten() {
        let mut text = String::new();
        // A descriptor may be closed at any moment.
        let read = fs::File::open(info.path()).and_then(|mut file| file.read_to_string(&mut text));
        if read.is_err() {
            continue;
        }
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(':').trim().to_owned())
        };
        let Some(id) = field("prog_id").and_then(|id| id.parse().ok()) else {
            continue;
        };
        if field("link_type").as_deref() == Some("iter") {
            iterators.insert(id);
        }
        ids.insert(id);
    }
    ids.retain(|id| !iterators.contains(id));
    ids
}

/// Number and time of the runs of a tool's programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunStats {
    runs: u64,
    nanoseconds: u64,
    /// Transitions: runs of the program that has run most.
    transitions: u64,
}

/// Cost of a transition, on average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfTransition {
    pub(crate) nanoseconds: f64,
    /// Programs that run for each.
    pub(crate) runs: f64,
}

impl RunStats {
    /// Sums up these programs, so far.
    pub(crate) fn of(ids: &BTreeSet<u32>) -> Self {
        ProgInfoIter::default().filter(|info| ids.contains(&info.id)).fold(
            Self::default(),
            |sum, info| Self {
                runs: sum.runs + info.run_cnt,
                nanoseconds: sum.nanoseconds + info.run_time_ns,
                transitions: sum.transitions.max(info.run_cnt),
            },
        )
    }

    /// Cost of a transition since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Option<OfTransition> {
        let transitions = self.transitions.checked_sub(earlier.transitions)?;
        // A sum is less than before where a program has gone meanwhile.
        let of_each =
            |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / transitions as f64);
        (transitions > 0).then_some(OfTransition {
            nanoseconds: of_each(self.nanoseconds, earlier.nanoseconds)?,
            runs: of_each(self.runs, earlier.runs)?,
        })
    }
}

/// Makes the kernel keep statistics of BPF programs, or not, until it is dropped.
pub(crate) struct Statistics {
    before: String,
}

impl Statistics {
    pub(crate) fn keep(yes: bool) -> Result<Self> {
        let before = fs::read_to_string(STATS)?;
        fs::write(STATS, u8::from(yes).to_string())?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // A failure costs little: statistics that stay on, or off.
        let _ = fs::write(STATS, self.before.trim());
    }
}
