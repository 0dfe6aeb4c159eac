//! The kernel's side of the house: the only room that names libbpf.
//!
//! `load` loads the BPF programs that `variants` chooses; `ring` brings transitions as they happen,
//! and `scan` the truth about all sockets. The programs themselves are in `src/bpf`, and their head,
//! `sockleak.bpf.c`, says what each of them does.

mod btf;
mod ehash;
mod error;
mod extract;
mod follow;
mod iterators;
mod load;
mod own;
mod ring;
mod scan;
mod source;
mod threads;
pub mod variants;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::thread;

use caps::Capability;
use libbpf_rs::libbpf_sys::{bpf_prog_get_info_by_fd, bpf_prog_info};
use libbpf_rs::{Iter, Link, ProgramMut};

pub use self::btf::KernelTypes;
pub use self::error::ProbeError;
use self::error::{collect_notes, failed, refused, take_notes};
pub use self::follow::{FollowConfig, FollowLosses, Follower, Left};
use self::iterators::Links;
use self::load::{Loaded, load};
use self::own::OwnFiles;
use self::ring::Ring;
use self::variants::{Group, KernelFacts, Program, Surprise, queue_bound, surprises};
use crate::bpf::SockleakSkel;
use crate::bpf::types::bss;
use crate::host::{limits, privilege, seccomp};
use crate::sock::decode::decode;
use crate::sock::event::Record;
use crate::sock::state::StateSet;

/// The states to report, and where the programs get their memory and types.
#[derive(Clone, Debug)]
pub struct Config {
    /// The states whose sockets scans report, besides all candidates for a verdict.
    pub watched: StateSet,
    /// The states whose edges are reported as they happen; with none, there is nothing to attach.
    pub transitions: StateSet,
    /// True for a table, which scans. Then transitions are reported in brief: what a table
    /// needs to know besides what scans tell. Otherwise all edges are reported, in full, and there
    /// are no scans.
    pub scans: bool,
    /// The size of the ring in bytes: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// The kernel's BTF, where the kernel does not tell it itself.
    pub btf: Option<PathBuf>,
    /// Capabilities to keep after the start, where they are held: nothing here needs them.
    pub kept: &'static [Capability],
}

/// The loaded programs. Everything is detached when it is dropped.
pub struct Probe {
    skeleton: SockleakSkel<'static>,
    facts: KernelFacts,
    programs: Vec<Program>,
    ring: Ring<Record>,
    links: Arc<Links>,
    own: OwnFiles,
    kept: &'static [Capability],
    tracepoint: Option<[Link; 2]>,
    exits: Option<Link>,
    /// True if transitions are reported in brief, so that some are held back.
    follows_in_brief: bool,
}

impl Probe {
    /// Loads the programs and prepares the iterators.
    ///
    /// # Errors
    /// Everything that can be missing is missed here.
    pub fn open(config: &Config) -> Result<Self, ProbeError> {
        check()?;
        let own = OwnFiles::open()?;
        let Loaded { skeleton, programs, facts } = load(config, &own)?;
        Ok(Self {
            ring: Ring::watch(&skeleton.maps.ring, decode)?,
            links: Arc::new(Links::attach(&skeleton, &programs)?),
            facts,
            programs,
            own,
            kept: config.kept,
            tracepoint: None,
            exits: None,
            follows_in_brief: config.scans && !config.transitions.is_empty(),
            skeleton,
        })
    }

    /// Begins to report transitions; for a table, exits, too.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach(&mut self) -> Result<(), ProbeError> {
        let attach = |program: &ProgramMut<'_>| {
            program.attach().map_err(refused("attach tp_btf/inet_sock_set_state"))
        };
        if self.programs.iter().any(|program| program.group == Group::Exits) {
            let link = self.skeleton.progs.on_exit.attach();
            self.exits = Some(link.map_err(refused("attach tp_btf/sched_process_exit"))?);
        }
        let progs = &self.skeleton.progs;
        // The kernel calls them in the order in which they are attached.
        self.tracepoint = Some([attach(&progs.on_set_state)?, attach(&progs.on_skipped)?]);
        Ok(())
    }

    /// Gives up every capability but those that are to be kept; keeps CAP_BPF where the loaded programs
    /// cannot be used without it.
    ///
    /// # Errors
    /// Where the kernel does not even allow that.
    pub fn drop_privilege(&self) -> Result<(), ProbeError> {
        let needed: &[_] = if self.needs_none() { &[] } else { &[Capability::CAP_BPF] };
        privilege::give_up_all_but(&[needed, self.kept].concat())
            .map_err(failed("give up capabilities"))
    }

    fn needs_none(&self) -> bool {
        let files = self.links.files.as_ref();
        let program = self.skeleton.progs.on_set_state.as_fd();
        works_without_privilege(|| {
            files.map_or_else(|| skips(program).is_some(), |files| Iter::new(files).is_ok())
        })
    }

    /// How many transitions have not been reported, since the start.
    pub fn lost(&self) -> u64 {
        self.dropped() + self.skipped()
    }

    /// How many of them found no room in the ring.
    pub fn dropped(&self) -> u64 {
        self.global(|bss| &bss.lost)
    }

    /// How many of them the kernel did not show to our programs, because they happened while these
    /// were interrupted on their CPU.
    fn skipped(&self) -> u64 {
        if self.tracepoint.is_none() {
            return 0;
        }
        // Read in this order: what is recovered was skipped before.
        let skips = skips(self.skeleton.progs.on_set_state.as_fd()).unwrap_or(0);
        skips.saturating_sub(self.global(|bss| &bss.recovered))
    }

    /// How many listeners, and sockets in their queues, the last scan had no room to note.
    pub fn queues_lost(&self) -> u64 {
        self.global(|bss| &bss.queues_lost)
    }

    /// How long a queue may be before its rest is not walked.
    pub fn queue_bound(&self) -> u32 {
        queue_bound(self.facts)
    }

    /// How many io_urings the last scan had no room to note: 128 of a process is the most.
    pub fn rings_lost(&self) -> u64 {
        self.global(|bss| &bss.rings_lost)
    }

    /// True if scans see sockets that only an io_uring's table of files refers to.
    pub fn sees_rings(&self) -> bool {
        self.own.ring.is_some()
            && self.facts.contains(KernelFacts::RING_TABLES | KernelFacts::CAST)
            && self.links.files.is_some()
    }

    /// How often bytes came that were no record, since the start.
    pub fn undecodable(&self) -> u64 {
        self.ring.undecodable()
    }

    /// Ways in which this kernel is unlike all that were known, as far as they have shown: ask after a
    /// scan.
    pub fn surprises(&self) -> Vec<Surprise> {
        let mut surprises = surprises(self.facts);
        let learns = self.facts.contains(KernelFacts::CAST) && self.links.files.is_some();
        if learns && self.global(|bss| &bss.socket_file_ops) == 0 {
            surprises.push(Surprise::SocketFiles);
        }
        surprises
    }

    /// True if since the last scan a connection has come to its end with its descriptor open, so
    /// that only a scan can tell whether it is leaked.
    pub fn left_open(&self) -> bool {
        self.global(|bss| &bss.left_open)
    }

    /// Notes that only a scan can tell whether some connection is leaked; or that none is such.
    pub fn set_left_open(&mut self, yes: bool) {
        self.set_global(|bss| &mut bss.left_open, yes);
    }

    /// Reports processes that exit, or not: see [`Source::report_exits`](crate::live::source::Source).
    pub fn report_exits(&mut self, yes: bool) {
        self.set_global(|bss| &mut bss.report_exits, yes);
    }

    /// Writes a variable that the programs read at any time.
    fn set_global<T>(&mut self, which: impl FnOnce(&mut bss) -> &mut T, value: T) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            #[expect(unsafe_code, reason = "it must be written to memory, at once")]
            unsafe {
                ptr::from_mut(which(bss)).write_volatile(value);
            }
        }
    }

    /// Reads a variable that the programs write at any time.
    fn global<T: Copy + Default>(&self, which: impl FnOnce(&bss) -> &T) -> T {
        let bss = self.skeleton.maps.bss_data.as_deref();
        #[expect(unsafe_code, reason = "it must be read from memory, each time")]
        bss.map_or_else(T::default, |bss| unsafe { ptr::from_ref(which(bss)).read_volatile() })
    }
}

/// Misses what can be missing before anything is loaded.
fn check() -> Result<(), ProbeError> {
    limits::check().map_err(ProbeError::Limit)?;
    privilege::check().map_err(ProbeError::Privilege)?;
    if seccomp::refuses_bpf() {
        return Err(ProbeError::Seccomp);
    }
    collect_notes();
    Ok(())
}

/// Tries whether loaded programs can be used without any capability. Before 5.19 (c8644cd0efe7), and
/// with kernel.unprivileged_bpf_disabled, every bpf() needs CAP_BPF.
fn works_without_privilege(try_it: impl FnOnce() -> bool + Send) -> bool {
    // Capabilities are a thread's own.
    let works = thread::scope(|scope| {
        let try_it = || privilege::keep_only(&[]).is_ok() && try_it();
        let thread = thread::Builder::new().spawn_scoped(scope, try_it);
        thread.is_ok_and(|thread| thread.join().unwrap_or(false))
    });
    take_notes();
    works
}

/// How often the kernel has skipped a program.
fn skips(program: BorrowedFd<'_>) -> Option<u64> {
    let mut info = bpf_prog_info::default();
    let mut size = u32::try_from(size_of_val(&info)).unwrap_or(0);
    #[expect(unsafe_code, reason = "libbpf-rs has it only for programs that it finds itself")]
    let result =
        unsafe { bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut size) };
    (result == 0).then_some(info.recursion_misses)
}
