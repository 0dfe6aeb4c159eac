//! Loads the programs that this kernel can run, and attaches the iterators.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, ObjectBuilder, OpenObject};

use super::btf::KernelTypes;
use super::error::{failed, refused};
use super::{Config, ProbeError};
use crate::bpf::{OpenSockleakSkel, SockleakSkel, SockleakSkelBuilder};
use crate::pidns;

/// The iterators.
pub(super) struct Links {
    pub(super) files: Link,
    pub(super) netns: Link,
    /// Along the accept queues, and to tell what is in them. Since 5.9 (a5cbe05a6673).
    pub(super) queues: Option<(Link, Link)>,
    /// Since 5.9 (52d87d5f6418).
    pub(super) tcp: Option<Link>,
}

impl Links {
    pub(super) fn attach(skeleton: &SockleakSkel<'_>) -> Result<Self, ProbeError> {
        let progs = &skeleton.progs;
        let queues = || {
            let walk = if progs.walk_queues.autoload() {
                &progs.walk_queues
            } else {
                &progs.walk_queues_unrolled
            };
            let walk = walk.attach_iter(skeleton.maps.listeners.as_fd())?;
            Ok((walk, progs.scan_queued.attach_iter(skeleton.maps.queued.as_fd())?))
        };
        let queues = progs.scan_queued.autoload().then(queues).transpose();
        let tcp = progs.scan_tcp.autoload().then(|| progs.scan_tcp.attach()).transpose();
        Ok(Self {
            files: progs.scan_files.attach().map_err(refused("attach iter/task_file"))?,
            netns: progs.scan_netns.attach().map_err(refused("attach iter/task"))?,
            queues: queues.map_err(refused("attach iter/bpf_map_elem"))?,
            tcp: tcp.map_err(refused("attach iter/tcp"))?,
        })
    }
}

pub(super) fn load(config: &Config) -> Result<SockleakSkel<'static>, ProbeError> {
    let kernel = KernelTypes::of_kernel(config.btf.as_deref())?;
    // One for the life of the process: the skeleton borrows it, and lives in the same struct.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let builder = SockleakSkelBuilder { obj_builder: ObjectBuilder::default() };
    let mut open = builder.open(object).map_err(refused("open the BPF object"))?;
    configure(&mut open, config, &kernel)?;
    open.load().map_err(|error| kernel.blame(error))
}

fn configure(
    open: &mut OpenSockleakSkel<'_>,
    config: &Config,
    kernel: &KernelTypes,
) -> Result<(), ProbeError> {
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.watched_states = config.watched.bits();
        rodata.transitions_of = config.transitions.bits();
        rodata.wakeup_bytes = u64::from(config.ring_size / 4);
        rodata.pid_namespace = pidns::own().map_err(failed("find our PID namespace in /proc"))?;
    }
    open.maps.ring.set_max_entries(config.ring_size).map_err(refused("size the ring buffer"))?;

    let (has_map_iterator, has_loop) =
        (kernel.has_struct("bpf_iter__bpf_map_elem"), kernel.has_helper("bpf_loop"));
    open.progs.on_set_state.set_autoload(!config.transitions.is_empty());
    open.progs.walk_queues.set_autoload(has_map_iterator && has_loop);
    open.progs.walk_queues_unrolled.set_autoload(has_map_iterator && !has_loop);
    open.progs.scan_queued.set_autoload(has_map_iterator);
    open.progs.scan_tcp.set_autoload(kernel.has_struct("bpf_iter__tcp"));
    Ok(())
}
