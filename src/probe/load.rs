//! Loads the programs that this kernel can run, and attaches the iterators.

use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::Duration;

use libbpf_rs::btf::{Btf, BtfType, TypeId};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{AsRawLibbpf, Link, ObjectBuilder, OpenObject, ProgramMut};
#[cfg(target_env = "gnu")]
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_getres};
use rustc_hash::FxHashSet;

use super::btf::KernelTypes;
use super::error::{failed, refused};
use super::extract::{Types, without_flavour};
use super::scan::{join, spawn};
use super::{Config, ProbeError};
use crate::bpf::types::type_ids;
use crate::bpf::{OpenSockleakSkel, SockleakSkel, SockleakSkelBuilder};
use crate::host::pidns;

/// No ring is smaller than a page.
const LARGEST_PAGE: u32 = 64 << 10;

/// The iterators.
pub(super) struct Links {
    pub(super) files: Link,
    /// To tell what `files` has found, where it does not tell itself.
    pub(super) found: Option<Link>,
    /// Only where a network namespace can have a hash table of its own: since 6.1 (d1e5e6408b30).
    pub(super) netns: Option<Link>,
    /// Over the elements of maps: since 5.9 (a5cbe05a6673).
    pub(super) maps: Option<MapLinks>,
}

pub(super) struct MapLinks {
    /// Along the accept queues,
    pub(super) queues: Link,
    /// to tell what is in them.
    pub(super) queued: Link,
    /// Through the hash table of connections.
    pub(super) ehash: Link,
}

impl Links {
    pub(super) fn attach(skeleton: &SockleakSkel<'_>) -> Result<Self, ProbeError> {
        let (progs, maps) = (&skeleton.progs, &skeleton.maps);
        let files = loaded(&progs.scan_files, &progs.scan_files_by_magic);
        let files = loaded(&progs.scan_tasks, files);
        let found = || progs.report_kept.attach_iter(maps.kept.as_fd());
        let found = progs.report_kept.autoload().then(found).transpose();
        let netns = progs.scan_netns.autoload().then(|| progs.scan_netns.attach()).transpose();
        let over_maps = || {
            let queues = loaded(&progs.walk_queues, &progs.walk_queues_unrolled);
            let ehash = loaded(&progs.scan_ehash_apart, &progs.scan_ehash_unrolled);
            let ehash = loaded(&progs.scan_ehash, ehash);
            Ok(MapLinks {
                queues: queues.attach_iter(maps.listeners.as_fd())?,
                queued: progs.report_queued.attach_iter(maps.queued.as_fd())?,
                ehash: ehash.attach_iter(maps.strides.as_fd())?,
            })
        };
        let over_maps = progs.report_queued.autoload().then(over_maps).transpose();
        Ok(Self {
            files: files.attach().map_err(refused("attach iter/task_file"))?,
            found: found.map_err(refused("attach iter/bpf_map_elem"))?,
            netns: netns.map_err(refused("attach iter/task"))?,
            maps: over_maps.map_err(refused("attach iter/bpf_map_elem"))?,
        })
    }
}

/// Which of two variants this kernel has been given.
fn loaded<'a, 'obj>(
    one: &'a ProgramMut<'obj>,
    other: &'a ProgramMut<'obj>,
) -> &'a ProgramMut<'obj> {
    if one.autoload() { one } else { other }
}

pub(super) fn load(
    config: &Config,
    own_socket: &impl AsRawFd,
) -> Result<SockleakSkel<'static>, ProbeError> {
    return_large_blocks();
    // One for the life of the process: the skeleton borrows it, and lives in the same struct.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut builder = SockleakSkelBuilder { obj_builder: ObjectBuilder::default() };
    let kernel = KernelTypes::of_kernel(config.btf.as_deref())?;
    let shown = memfd_create("btf", MFdFlags::MFD_CLOEXEC);
    let mut shown = File::from(shown.map_err(failed("make a file in memory"))?);
    let path = format!("/proc/self/fd/{}", shown.as_raw_fd());
    builder.obj_builder.btf_custom_path(path).map_err(refused("open the BPF object"))?;
    let mut open = builder.open(object).map_err(refused("open the BPF object"))?;
    let (names, whole) = (named_types(&open)?, kernel.raw());
    let extract = thread::scope(|scope| {
        // It takes as long as what this thread does meanwhile.
        let extract = spawn(scope, || Types::parse(whole)?.extract(&names))?;
        configure(&mut open, config, &kernel, own_socket)?;
        Ok(join(extract))
    })?;
    // All, where they cannot be read here.
    let extract = extract.as_deref().unwrap_or(whole);
    shown.write_all(extract).map_err(failed("write to a file in memory"))?;
    open.load().map_err(|error| kernel.blame(error))
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
fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no other way to say it; it may be said at any time")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// What the programs name of the kernel's types, and their own.
fn named_types(open: &OpenSockleakSkel<'_>) -> Result<FxHashSet<Vec<u8>>, ProbeError> {
    let object = open.open_object().as_libbpf_object();
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
    own_socket: &impl AsRawFd,
) -> Result<(), ProbeError> {
    let has_cast = kernel.has_function("bpf_rdonly_cast");
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.watched_states = config.watched.bits();
        rodata.transitions_of = config.transitions.bits();
        rodata.in_brief = config.brief;
        rodata.own_socket = own_socket.as_raw_fd().cast_unsigned();
        rodata.has_cast = has_cast;
        rodata.type_ids = type_ids {
            task_struct: kernel.number_of_struct("task_struct"),
            files_struct: kernel.number_of_struct("files_struct"),
            file: kernel.number_of_struct("file"),
            socket: kernel.number_of_struct("socket"),
            tcp_sock: kernel.number_of_struct("tcp_sock"),
        };
        rodata.jiffies_per_hour = jiffies_per_hour();
        rodata.wakeup_bytes = u64::from(config.ring_size / 4);
        rodata.pid_namespace = pidns::own().map_err(failed("find our PID namespace in /proc"))?;
    }
    // What is not used is as small as can be: memory takes time.
    let is_followed = !config.transitions.is_empty();
    let ring_size = if is_followed { config.ring_size } else { LARGEST_PAGE };
    open.maps.ring.set_max_entries(ring_size).map_err(refused("size the ring buffer"))?;

    let has_map_iterator = kernel.has_struct("bpf_iter__bpf_map_elem");
    let has_loop = kernel.has_helper("bpf_loop");
    let has_sock_from_file = kernel.has_helper("bpf_sock_from_file");
    let is_apart = kernel.member_is_pointer("netns_ipv4", "tcp_death_row");
    let progs = &mut open.progs;
    progs.on_set_state.set_autoload(!config.transitions.is_empty());
    progs.on_skipped.set_autoload(!config.transitions.is_empty());
    progs.scan_tasks.set_autoload(has_cast);
    progs.report_kept.set_autoload(has_cast);
    progs.scan_files.set_autoload(!has_cast && has_sock_from_file);
    progs.scan_files_by_magic.set_autoload(!has_cast && !has_sock_from_file);
    progs.walk_queues.set_autoload(has_map_iterator && has_loop);
    progs.walk_queues_unrolled.set_autoload(has_map_iterator && !has_loop);
    progs.report_queued.set_autoload(has_map_iterator);
    progs.scan_ehash.set_autoload(has_map_iterator && has_loop && !is_apart);
    progs.scan_ehash_apart.set_autoload(has_map_iterator && has_loop && is_apart);
    progs.scan_ehash_unrolled.set_autoload(has_map_iterator && !has_loop);
    progs.scan_netns.set_autoload(kernel.has_member("inet_hashinfo", "pernet"));
    Ok(())
}
