//! Loads the programs that this kernel can run and this call needs.

use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::Duration;

use libbpf_rs::btf::{Btf, BtfType, TypeId};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{AsRawLibbpf, ObjectBuilder, OpenObject};
#[cfg(target_env = "gnu")]
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_getres};
use rustc_hash::FxHashSet;

use super::btf::KernelTypes;
use super::error::{failed, refused};
use super::extract::{Types, without_flavour};
use super::own::OwnFiles;
use super::threads::{join, spawn};
use super::variants::{Group, KernelFacts, Program, programs};
use super::{Config, ProbeError};
use crate::bpf::types::type_ids;
use crate::bpf::{OpenSockleakSkel, SockleakSkel, SockleakSkelBuilder};
use crate::host::pidns;

/// No ring is smaller than a page.
const LARGEST_PAGE: u32 = 64 << 10;

/// The programs, loaded, and why these.
pub(super) struct Loaded {
    pub(super) skeleton: SockleakSkel<'static>,
    pub(super) programs: Vec<Program>,
    pub(super) facts: KernelFacts,
}

pub(super) fn load(config: &Config, own: &OwnFiles) -> Result<Loaded, ProbeError> {
    return_large_blocks();
    // Leaked, one for the life of the process: the skeleton borrows it, and lives in the same struct.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut builder = SockleakSkelBuilder { obj_builder: ObjectBuilder::default() };
    let kernel = KernelTypes::of_kernel(config.btf.as_deref())?;
    let shown = show_types(&mut builder.obj_builder)?;
    let mut open = builder.open(object).map_err(refused("open the BPF object"))?;
    let (names, whole) = (named_types(open.open_object())?, kernel.raw());
    let facts = KernelFacts::of(&kernel);
    let (extract, programs) = thread::scope(|scope| {
        // It takes as long as what this thread does meanwhile.
        let extract = spawn(scope, || Types::parse(whole)?.extract(&names))?;
        let programs = configure(&mut open, config, &kernel, facts, own)?;
        Ok((join(extract), programs))
    })?;
    write_types(&shown, extract.as_deref().unwrap_or(whole))?;
    let skeleton = open.load().map_err(|error| kernel.blame(error))?;
    Ok(Loaded { skeleton, programs, facts })
}

/// Shows libbpf a file in memory in the place of the kernel's types: [`write_types`] fills it.
pub(super) fn show_types(builder: &mut ObjectBuilder) -> Result<File, ProbeError> {
    let shown = memfd_create("btf", MFdFlags::MFD_CLOEXEC);
    let shown = File::from(shown.map_err(failed("make a file in memory"))?);
    let path = format!("/proc/self/fd/{}", shown.as_raw_fd());
    builder.btf_custom_path(path).map_err(refused("open the BPF object"))?;
    Ok(shown)
}

/// Writes the types that an object needs; all, where they cannot be parsed here.
pub(super) fn write_types(mut shown: &File, types: &[u8]) -> Result<(), ProbeError> {
    shown.write_all(types).map_err(failed("write to a file in memory"))
}

/// How many jiffies an hour has; 0 if unknown. The coarse clocks advance by jiffies.
fn jiffies_per_hour() -> u32 {
    let jiffy =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    let hour = Duration::from_secs(3600).as_nanos();
    hour.checked_div(jiffy.as_nanos()).and_then(|jiffies| jiffies.try_into().ok()).unwrap_or(0)
}

/// Has the C library give large blocks back to the system when they are freed. GNU's keeps blocks as
/// large as any that was freed before, and the kernel's types take many megabytes.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no other way to say it; it may be said at any time")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// The names of all types that the programs use: the kernel's, and their own.
pub(super) fn named_types(open: &OpenObject) -> Result<FxHashSet<Vec<u8>>, ProbeError> {
    let object = open.as_libbpf_object();
    #[expect(unsafe_code, reason = "libbpf-rs wants a reference, and has a pointer only")]
    let btf = Btf::from_bpf_object(unsafe { object.as_ref() });
    let btf = btf.map_err(refused("read the BPF object's BTF"))?;
    let named = |found: BtfType<'_>| Some(without_flavour(found.name()?.as_bytes()).to_vec());
    let names = btf.iter().flat_map(|btf| {
        let types = (1..).map_while(|id| btf.type_by_id::<BtfType<'_>>(TypeId::from(id)));
        types.filter_map(named)
    });
    Ok(names.collect())
}

fn configure(
    open: &mut OpenSockleakSkel<'_>,
    config: &Config,
    kernel: &KernelTypes,
    facts: KernelFacts,
    own: &OwnFiles,
) -> Result<Vec<Program>, ProbeError> {
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.watched_states = config.watched.bits();
        rodata.transitions_of = config.transitions.bits();
        rodata.in_brief = config.scans && !config.transitions.is_empty();
        rodata.own_socket = own.socket.as_raw_fd().cast_unsigned();
        if let Some(ring) = own.ring.as_ref().filter(|_| facts.contains(KernelFacts::RING_TABLES)) {
            rodata.own_ring = ring.as_raw_fd().cast_unsigned();
            rodata.has_ring = true;
        }
        rodata.has_cast = facts.contains(KernelFacts::CAST);
        rodata.type_ids = type_ids {
            task_struct: kernel.number_of_struct("task_struct"),
            files_struct: kernel.number_of_struct("files_struct"),
            file: kernel.number_of_struct("file"),
            socket: kernel.number_of_struct("socket"),
            tcp_sock: kernel.number_of_struct("tcp_sock"),
        };
        rodata.jiffies_per_hour = jiffies_per_hour();
        rodata.wakeup_bytes = u64::from(config.ring_size / 4);
        rodata.pid_namespace = pidns::own().map_err(ProbeError::NoProc)?;
    }
    let loaded = programs(facts, config);
    for mut program in open.open_object_mut().progs_mut() {
        let is_it = |loaded: &Program| program.name() == loaded.name;
        program.set_autoload(loaded.iter().any(is_it));
    }
    // Maps that no loaded program uses are as small as can be: memory takes time.
    let is_loaded = |group| loaded.iter().any(|program| program.group == group);
    let maps = &mut open.maps;
    let ring_size = if is_loaded(Group::Transitions) { config.ring_size } else { LARGEST_PAGE };
    let mut size = || {
        maps.ring.set_max_entries(ring_size)?;
        for (map, group) in [
            // Of those that follow, only a table has exits reported, and holds back.
            (&mut maps.held_back, Group::Exits),
            (&mut maps.ended, Group::Exits),
            (&mut maps.kept, Group::Kept),
            (&mut maps.listeners, Group::Queues),
            (&mut maps.queued, Group::Queues),
            (&mut maps.strides, Group::Hash),
        ] {
            if !is_loaded(group) {
                map.set_max_entries(1)?;
            }
        }
        Ok(())
    };
    size().map_err(refused("size the maps"))?;
    Ok(loaded)
}
