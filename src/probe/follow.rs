//! The programs of `sockleak run` (`follow.bpf.c`): they follow a command, its descendants, and the
//! sockets that these leak.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use caps::Capability;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, ObjectBuilder, OpenObject};
use plain::Plain;

use super::error::refused;
use super::extract::Types;
use super::iterators::{open, read_some};
use super::load::{named_types, return_large_blocks, show_types, write_types};
use super::ring::Ring;
use super::threads::{READ_MAX, join, spawn};
use super::variants::KernelFacts;
use super::{KernelTypes, ProbeError, check, skips, works_without_privilege};
use crate::bpf::follow::types::{bss, followed};
use crate::bpf::follow::{FollowSkel, FollowSkelBuilder, OpenFollowSkel};
use crate::host::pidns;
use crate::sock::dead::{Followed, decode_followed};

#[expect(unsafe_code, reason = "it is plain data")]
unsafe impl Plain for followed {}

/// The last programs that the kernel calls for an event. What is hidden from these may be hidden from
/// those before them, too; before 7.0 it is not hidden from any.
const LAST: [&str; 4] =
    ["on_fork_skipped", "on_exec_skipped", "on_process_exit_skipped", "on_process_exit_unrolled"];

/// The programs, attached. They are detached when it is dropped.
pub struct Follower {
    skeleton: FollowSkel<'static>,
    ring: Ring<Followed>,
    tasks: Link,
    files: Link,
    queues: Option<Link>,
    facts: Facts,
    _links: Vec<Link>,
}

/// Sockets to report, and where the programs get their memory.
#[derive(Clone, Copy, Debug)]
pub struct FollowConfig {
    /// Sockets that are closed so soon after their end are not reported.
    pub min_age: Duration,
    /// True if stranded sockets are reported, too, as far as exits and survivors show it.
    pub stranded: bool,
    /// The size of the ring in bytes: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// How many processes are followed, and dead sockets noted, at once.
    pub table_size: u32,
}

/// Facts about a kernel that matter here.
#[derive(Clone, Copy, Debug)]
struct Facts {
    has_loop: bool,
    has_map_iterator: bool,
    has_destroy: bool,
}

/// Losses on the way, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowLosses {
    /// Records for which the ring had no room, and events that the kernel did not show to our programs.
    pub events: u64,
    /// Records that could not be read.
    pub undecodable: u64,
    /// Processes for which there was no room.
    pub unfollowed: u64,
    /// Dead sockets for which there was no room.
    pub unnoted: u64,
    /// True if the kernel does not tell when a socket that was reset is closed.
    pub misses_resets: bool,
}

/// Processes that are followed and left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How many have not begun to exit.
    pub living: usize,
    /// True if others exit, and may not have closed their files yet.
    pub has_closing: bool,
}

impl Follower {
    /// Loads and attaches the programs: whatever this process forks from now on is followed.
    ///
    /// # Errors
    /// Everything that can be missing is missed here.
    pub fn open(config: &FollowConfig) -> Result<Self, ProbeError> {
        check()?;
        return_large_blocks();
        // Leaked, one for the life of the process: the skeleton borrows it, and lives in the same struct.
        let object: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut builder = FollowSkelBuilder { obj_builder: ObjectBuilder::default() };
        let kernel = KernelTypes::of_kernel(None)?;
        let shown = show_types(&mut builder.obj_builder)?;
        let mut open = builder.open(object).map_err(refused("open the BPF object"))?;
        let (names, whole) = (named_types(open.open_object())?, kernel.raw());
        let facts = Facts::of(&kernel);
        let extract = thread::scope(|scope| {
            let extract = spawn(scope, || Types::parse(whole)?.extract(&names))?;
            configure(&mut open, facts, config)?;
            Ok(join(extract))
        })?;
        write_types(&shown, extract.as_deref().unwrap_or(whole))?;
        let skeleton = open.load().map_err(|error| kernel.blame(error))?;
        Self::attach(skeleton, facts)
    }

    fn attach(skeleton: FollowSkel<'static>, facts: Facts) -> Result<Self, ProbeError> {
        let mut links = Vec::new();
        // The kernel calls on_set_state and on_skipped in the order in which they are attached.
        for program in skeleton.object().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            if name.starts_with("on_") && facts.has(&name) {
                links.push(program.attach().map_err(refused("attach a tracepoint"))?);
            }
        }
        let progs = &skeleton.progs;
        let tasks = progs.survey_tasks.attach().map_err(refused("attach an iterator"))?;
        let files = progs.survey_files.attach().map_err(refused("attach an iterator"))?;
        let queues = facts.has("survey_queues").then(|| {
            let dead = skeleton.maps.dead.as_fd();
            progs.survey_queues.attach_iter(dead).map_err(refused("attach an iterator"))
        });
        Ok(Self {
            ring: Ring::watch(&skeleton.maps.ring, decode_followed)?,
            queues: queues.transpose()?,
            tasks,
            files,
            facts,
            skeleton,
            _links: links,
        })
    }

    /// The capabilities without which the loaded programs cannot be used.
    pub fn needs(&self) -> &'static [Capability] {
        let program = self.skeleton.progs.on_set_state.as_fd();
        let works = works_without_privilege(|| skips(program).is_some());
        if works { &[] } else { &[Capability::CAP_BPF] }
    }

    /// Waits until the ring fills, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    ///
    /// # Errors
    /// Where epoll fails.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<bool, ProbeError> {
        self.ring.wait(stop, timeout)
    }

    /// Takes everything that has come through the ring.
    ///
    /// # Errors
    /// Where libbpf cannot read it.
    pub fn take(&mut self) -> Result<Vec<Followed>, ProbeError> {
        self.ring.take(&self.skeleton.maps.ring)
    }

    /// The programs that processes run which are followed, by their numbers.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn programs(&self) -> Result<HashSet<u64>, ProbeError> {
        let map = &self.skeleton.maps.followed;
        let mut programs = HashSet::new();
        for key in map.keys() {
            let value = map.lookup(&key, MapFlags::ANY).map_err(refused("read a map"))?;
            let mut process = followed::default();
            if value.is_some_and(|value| process.copy_from_bytes(&value).is_ok()) {
                programs.insert(process.program);
            }
        }
        Ok(programs)
    }

    /// Looks how many processes are left.
    ///
    /// # Errors
    /// Where the iterator fails half-way.
    pub fn left(&self) -> Result<Left, ProbeError> {
        let mut iter = open(&self.tasks)?;
        while read_some(&mut iter, &mut [0; 8])? > 0 {}
        let processes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Left {
            living: processes(self.global(|bss| &bss.living)),
            has_closing: self.global(|bss| &bss.closing) > 0,
        })
    }

    /// Reports the dead sockets that processes still hold, those in accept queues, and the listeners.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn survey(&mut self, mut report: impl FnMut(Followed)) -> Result<(), ProbeError> {
        let mut buffer = vec![0; READ_MAX];
        for link in [Some(&self.files), self.queues.as_ref()].into_iter().flatten() {
            let mut iter = open(link)?;
            loop {
                let len = read_some(&mut iter, &mut buffer)?;
                if len == 0 {
                    break;
                }
                let mut rest = &buffer[..len];
                while !rest.is_empty() {
                    let Ok((record, len)) = decode_followed(rest) else {
                        // Nobody knows where the next record begins.
                        self.ring.count_undecodable();
                        break;
                    };
                    report(record);
                    rest = &rest[len..];
                }
            }
        }
        Ok(())
    }

    /// Losses on the way, since the start.
    pub fn losses(&self) -> FollowLosses {
        let skips = |name: &str| {
            let mut programs = self.skeleton.object().progs();
            let program = programs.find(|program| program.name() == name);
            program.filter(|_| self.facts.has(name)).and_then(|program| skips(program.as_fd()))
        };
        // Read in this order: what is recovered was skipped before.
        let doubled = ["on_set_state", "on_destroy"].into_iter().filter_map(skips).sum::<u64>();
        let doubled = doubled.saturating_sub(self.global(|bss| &bss.recovered));
        let others: u64 = LAST.into_iter().filter_map(skips).sum();
        FollowLosses {
            events: self.global(|bss| &bss.lost) + doubled + others,
            undecodable: self.ring.undecodable(),
            unfollowed: self.global(|bss| &bss.unfollowed),
            unnoted: self.global(|bss| &bss.unnoted),
            misses_resets: !self.facts.has_destroy,
        }
    }

    /// How many sockets died so shortly before their process began to exit that nobody can tell.
    pub fn too_young(&self) -> u64 {
        self.global(|bss| &bss.too_young)
    }

    fn global<T: Copy + Default>(&self, which: impl FnOnce(&bss) -> &T) -> T {
        let bss = self.skeleton.maps.bss_data.as_deref();
        #[expect(unsafe_code, reason = "it must be read from memory, each time")]
        bss.map_or_else(T::default, |bss| unsafe { std::ptr::from_ref(which(bss)).read_volatile() })
    }
}

impl Facts {
    fn of(kernel: &KernelTypes) -> Self {
        let facts = KernelFacts::of(kernel);
        Self {
            has_loop: facts.contains(KernelFacts::LOOP),
            has_map_iterator: facts.contains(KernelFacts::MAP_ITERATOR),
            has_destroy: kernel.has_tracepoint("tcp_destroy_sock"),
        }
    }

    /// True if this kernel gets the program.
    fn has(self, program: &str) -> bool {
        match program {
            "on_process_exit" | "on_process_exit_skipped" => self.has_loop,
            "on_process_exit_unrolled" => !self.has_loop,
            "on_destroy" | "on_destroy_skipped" => self.has_destroy,
            "survey_queues" => self.has_map_iterator,
            _ => true,
        }
    }
}

fn configure(
    open: &mut OpenFollowSkel<'_>,
    facts: Facts,
    config: &FollowConfig,
) -> Result<(), ProbeError> {
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.runner = std::process::id();
        rodata.min_age = u64::try_from(config.min_age.as_nanos()).unwrap_or(u64::MAX);
        rodata.stranded_too = config.stranded;
        rodata.wakeup_bytes = u64::from(config.ring_size / 4);
        rodata.pid_namespace = pidns::own().map_err(ProbeError::NoProc)?;
    }
    for mut program in open.open_object_mut().progs_mut() {
        let is_loaded = facts.has(&program.name().to_string_lossy());
        program.set_autoload(is_loaded);
    }
    let maps = &mut open.maps;
    let sizes = [
        maps.ring.set_max_entries(config.ring_size),
        maps.followed.set_max_entries(config.table_size),
        maps.dead.set_max_entries(config.table_size),
    ];
    sizes.into_iter().collect::<Result<_, _>>().map_err(refused("size the maps"))
}
