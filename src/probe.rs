//! The kernel's side of the house: loads the BPF programs, attaches them, polls the ring, runs
//! the iterators. The only file that names libbpf.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Enum;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{
    Iter, Link, MapCore, ObjectBuilder, OpenObject, PrintLevel, RingBuffer, RingBufferBuilder,
    set_print,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use thiserror::Error;

use crate::bpf::{OpenSockleakSkel, SockleakSkel, SockleakSkelBuilder};
use crate::conn::SockPtr;
use crate::event::{self, DecodeError, Record};
use crate::netns::{self, Namespaces};
use crate::privilege;
use crate::state::StateSet;
use crate::table::Covered;

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What an iterator hands over at once, at the most: `PAGE_SIZE << 3` in the kernel's
/// `bpf_seq_read()`, of pages that may have 64 KiB.
const ITER_BUFFER: usize = 512 << 10;

/// What to load.
#[derive(Clone, Debug)]
pub struct Config {
    /// The states of the sockets that scans report.
    pub watched: StateSet,
    /// The states whose edges are reported as they happen.
    pub transitions: StateSet,
    /// The size of the ring in bytes: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// The kernel's BTF, where the kernel does not tell it itself.
    pub btf: Option<PathBuf>,
}

/// Why it cannot work here. One line, with the remedy.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Without privilege.
    #[error("missing {}: {}", names(.0), privilege::remedy())]
    Privilege(Vec<caps::Capability>),
    /// Without type information on the kernel.
    #[error(
        "this kernel has no BTF ({KERNEL_BTF} is missing): \
         use a kernel with CONFIG_DEBUG_INFO_BTF=y, or give its BTF with --btf FILE"
    )]
    NoBtf,
    /// The kernel has refused something.
    #[error("cannot {action}: {error}{}", first_note(.notes))]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What libbpf says.
        error: libbpf_rs::Error,
        /// What libbpf has printed about it.
        notes: Vec<String>,
    },
    /// A system call has failed.
    #[error("cannot {action}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

fn names(capabilities: &[caps::Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn first_note(notes: &[String]) -> String {
    // The first names the culprit; what follows is the verifier's log, and who else failed then.
    notes.first().map_or_else(String::new, |note| format!(" ({note})"))
}

/// The loaded programs. Everything is detached when it is dropped.
pub struct Probe {
    skeleton: SockleakSkel<'static>,
    /// Mapped only while records come: both mappings of it count as our memory, twice its size.
    ring: Option<RingBuffer<'static>>,
    wakeups: Epoll,
    inbox: Rc<RefCell<Inbox>>,
    links: Links,
    buffer: Vec<u8>,
}

/// What is attached.
struct Links {
    files: Link,
    /// Along the accept queues, and to tell what is in them. Since 5.9 (a5cbe05a6673).
    queues: Option<(Link, Link)>,
    /// Since 5.9 (52d87d5f6418).
    tcp: Option<Link>,
    tracepoint: Option<Link>,
}

/// What has come through the ring.
#[derive(Default)]
struct Inbox {
    records: Vec<Record>,
    undecodable: u64,
}

impl Inbox {
    fn put(&mut self, record: Result<Record, DecodeError>) {
        match record {
            Ok(record) => self.records.push(record),
            Err(_) => self.undecodable += 1,
        }
    }
}

impl Probe {
    /// Loads the programs and prepares the iterators.
    ///
    /// # Errors
    /// Everything that can be missing is missed here.
    pub fn open(config: &Config) -> Result<Self, ProbeError> {
        let missing = privilege::missing();
        if !missing.is_empty() {
            return Err(ProbeError::Privilege(missing));
        }
        if config.btf.is_none() && !Path::new(KERNEL_BTF).exists() {
            return Err(ProbeError::NoBtf);
        }
        collect_notes();
        let skeleton = load(config)?;

        // Edge-triggered: a ring that has a record in it is always "ready", but only one that fills
        // faster than we come by sends a wake-up.
        let wakeups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|epoll| {
            let edges = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            epoll.add(skeleton.maps.ring.as_fd(), edges).map(|()| epoll)
        });
        let wakeups = wakeups
            .map_err(|errno| ProbeError::Io { action: "watch the ring", error: errno.into() })?;

        Ok(Self {
            links: attach_iterators(&skeleton)?,
            skeleton,
            ring: None,
            wakeups,
            inbox: Rc::default(),
            buffer: vec![0; ITER_BUFFER],
        })
    }

    /// Begins to report transitions.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach(&mut self) -> Result<(), ProbeError> {
        let link = self.skeleton.progs.on_set_state.attach();
        self.links.tracepoint = Some(link.map_err(refused("attach tp_btf/inet_sock_set_state"))?);
        Ok(())
    }

    /// Waits until the ring fills, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    ///
    /// # Errors
    /// Where epoll fails.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<bool, ProbeError> {
        let failed = |errno: Errno| ProbeError::Io { action: "poll the ring", error: errno.into() };
        // Rounded up: a wait of less than a millisecond is not a busy loop.
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.wakeups.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop, PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let stopped = fds[1].any().unwrap_or(false);
        // What has been told is not told again.
        self.wakeups.wait(&mut [EpollEvent::empty()], PollTimeout::ZERO).map_err(failed)?;
        Ok(stopped)
    }

    /// Takes everything that has come through the ring.
    ///
    /// # Errors
    /// Where libbpf cannot read it.
    pub fn take(&mut self) -> Result<Vec<Record>, ProbeError> {
        if !self.has_records()? {
            self.ring = None;
            return Ok(Vec::new());
        }
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => self.map_ring().map_err(refused("map the ring buffer"))?,
        };
        self.ring.insert(ring).consume().map_err(refused("read the ring"))?;
        Ok(mem::take(&mut self.inbox.borrow_mut().records))
    }

    fn has_records(&self) -> Result<bool, ProbeError> {
        let mut fds = [PollFd::new(self.skeleton.maps.ring.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO)
            .map_err(|errno| ProbeError::Io { action: "poll the ring", error: errno.into() })?;
        Ok(fds[0].any().unwrap_or(false))
    }

    fn map_ring(&self) -> libbpf_rs::Result<RingBuffer<'static>> {
        let inbox = Rc::clone(&self.inbox);
        let mut builder = RingBufferBuilder::new();
        builder.add(&self.skeleton.maps.ring, move |bytes| {
            inbox.borrow_mut().put(event::decode(bytes).map(|(record, _)| record));
            0
        })?;
        builder.build()
    }

    /// How many records the kernel could not hand over, since the start.
    pub fn lost(&self) -> u64 {
        let in_kernel = self.skeleton.maps.bss_data.as_deref().map_or(0, |bss| {
            #[expect(unsafe_code, reason = "the kernel writes it at any time")]
            unsafe {
                (&raw const bss.lost).read_volatile()
            }
        });
        in_kernel + self.inbox.borrow().undecodable
    }

    /// How long a queue may be before its rest is not walked.
    pub fn queue_bound(&self) -> u32 {
        match self.skeleton.progs.walk_queues.autoload() {
            true => 1 << 16,
            false => 1 << 10,
        }
    }

    /// Reports every watched socket that a process holds, every listener with a queue, and every
    /// watched socket in these queues.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_files(&mut self, mut report: impl FnMut(Record)) -> Result<(), ProbeError> {
        let mut listeners = Vec::new();
        let iter = Iter::new(&self.links.files).map_err(refused("open iter/task_file"))?;
        self.read_iter(iter, |record| {
            if let Record::Listener(_, listener) = &record {
                listeners.push(listener.sock);
            }
            report(record);
        })?;
        let Some((walk, tell)) = self.links.queues.as_ref().filter(|_| !listeners.is_empty())
        else {
            return Ok(());
        };
        let open = |link| Iter::new(link).map_err(refused("open iter/bpf_map_elem"));
        let (walk, tell) = (open(walk)?, open(tell)?);
        self.read_iter(walk, |_| {})?;
        let mut queued = Vec::new();
        self.read_iter(tell, |record| {
            if let Record::Queued(_, sock) = &record {
                queued.push(sock.sock);
            }
            report(record);
        })?;
        self.forget(&listeners, &queued);
        Ok(())
    }

    /// Empties the maps that the walk along the queues has filled.
    fn forget(&self, listeners: &[SockPtr], queued: &[SockPtr]) {
        let maps = &self.skeleton.maps;
        for (map, socks) in [(&maps.listeners, listeners), (&maps.queued, queued)] {
            for sock in socks {
                // Two processes can hold one listener: it may be gone already.
                let _ = map.delete(&sock.0.to_ne_bytes());
            }
        }
    }

    /// Reports the watched sockets in these network namespaces (`None`: in all there are) that
    /// have no file; and those that have one where they are not as many as `known` says. Says
    /// where it could look.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_tcp(
        &mut self,
        wanted: Option<&[u32]>,
        known: &HashMap<u32, u64>,
        mut report: impl FnMut(Record),
    ) -> Result<Covered, ProbeError> {
        let (mut looked_into, mut unseen) = (Vec::new(), Vec::new());
        let Namespaces { known: mut namespaces, hidden } = netns::all();
        if let Some(wanted) = wanted {
            namespaces.retain(|netns, _| wanted.contains(netns));
        }
        for (netns, path) in namespaces {
            self.tell_all(false);
            let mut looked = self.scan_tcp_inside(netns, &path, &mut report)?;
            if looked && self.counted() != known.get(&netns).copied().unwrap_or(0) {
                self.tell_all(true);
                looked = self.scan_tcp_inside(netns, &path, &mut report)?;
            }
            if looked { &mut looked_into } else { &mut unseen }.push(netns);
        }
        Ok(match wanted {
            // There may be namespaces that we do not know of.
            _ if hidden => Covered::Only(looked_into),
            None => Covered::AllBut(unseen),
            // What is not found has no process left, and no name: its sockets are gone.
            Some(wanted) => {
                Covered::Only(wanted.iter().copied().filter(|n| !unseen.contains(n)).collect())
            }
        })
    }

    /// Says whether it could look there.
    fn scan_tcp_inside(
        &mut self,
        netns: u32,
        path: &Path,
        report: &mut impl FnMut(Record),
    ) -> Result<bool, ProbeError> {
        let Some(tcp) = &self.links.tcp else {
            return Ok(false);
        };
        let own = netns::inode(Path::new("/proc/self/ns/net")).ok();
        let iter = match own == Some(netns) {
            true => Ok(Iter::new(tcp)),
            false => netns::inside(path, || Iter::new(tcp)),
        };
        match iter {
            Ok(iter) => self.read_iter(iter.map_err(refused("open iter/tcp"))?, report)?,
            // It is gone with its last process, and so are its sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    fn tell_all(&mut self, all: bool) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.tell_all = all.into();
            bss.counted = 0;
        }
    }

    fn counted(&self) -> u64 {
        self.skeleton.maps.bss_data.as_deref().map_or(0, |bss| bss.counted)
    }

    fn read_iter(
        &mut self,
        mut iter: Iter,
        mut report: impl FnMut(Record),
    ) -> Result<(), ProbeError> {
        let mut filled = 0;
        loop {
            match iter.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                // After a million files without one of ours the kernel catches its breath.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    return Err(ProbeError::Io { action: "read an iterator", error });
                }
            }
            let mut rest = &self.buffer[..filled];
            while !rest.is_empty() {
                match event::decode(rest) {
                    Ok((record, len)) => {
                        report(record);
                        rest = &rest[len..];
                    }
                    Err(DecodeError::Short(_)) => break,
                    Err(_) => {
                        // Where the next record begins is anybody's guess.
                        self.inbox.borrow_mut().undecodable += 1;
                        rest = &[];
                    }
                }
            }
            let rest = filled - rest.len()..filled;
            filled = rest.len();
            self.buffer.copy_within(rest, 0);
            self.take()?.into_iter().for_each(&mut report);
        }
        self.take()?.into_iter().for_each(report);
        Ok(())
    }
}

fn attach_iterators(skeleton: &SockleakSkel<'_>) -> Result<Links, ProbeError> {
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
    Ok(Links {
        files: progs.scan_files.attach().map_err(refused("attach iter/task_file"))?,
        queues: queues.map_err(refused("attach iter/bpf_map_elem"))?,
        tcp: tcp.map_err(refused("attach iter/tcp"))?,
        tracepoint: None,
    })
}

fn load(config: &Config) -> Result<SockleakSkel<'static>, ProbeError> {
    let mut builder = ObjectBuilder::default();
    if let Some(btf) = &config.btf {
        builder.btf_custom_path(btf).map_err(refused("use this BTF"))?;
    }
    // One for the life of the process: the skeleton borrows it, and lives in the same struct.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let builder = SockleakSkelBuilder { obj_builder: builder };
    let mut open = builder.open(object).map_err(refused("open the BPF object"))?;
    configure(&mut open, config)?;
    open.load().map_err(refused("load the BPF programs"))
}

fn configure(open: &mut OpenSockleakSkel<'_>, config: &Config) -> Result<(), ProbeError> {
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.watched_states = config.watched.bits();
        rodata.transitions_of = config.transitions.bits();
        rodata.wakeup_bytes = u64::from(config.ring_size / 4);
        // Without /proc nothing is known, and the initial namespace is as good a guess as any.
        let namespace = fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
        if let Some(inode) = namespace.ok().and_then(|inode| u32::try_from(inode).ok()) {
            rodata.pid_namespace = inode;
        }
    }
    open.maps.ring.set_max_entries(config.ring_size).map_err(refused("size the ring buffer"))?;

    let kernel = KernelTypes::read(config.btf.as_deref())?;
    let (has_map_iterator, has_loop) =
        (kernel.has_struct("bpf_iter__bpf_map_elem"), kernel.has_helper("BPF_FUNC_loop"));
    open.progs.walk_queues.set_autoload(has_map_iterator && has_loop);
    open.progs.walk_queues_unrolled.set_autoload(has_map_iterator && !has_loop);
    open.progs.scan_queued.set_autoload(has_map_iterator);
    open.progs.scan_tcp.set_autoload(kernel.has_struct("bpf_iter__tcp"));
    Ok(())
}

/// What the kernel's BTF tells of it.
struct KernelTypes {
    btf: Btf<'static>,
}

impl KernelTypes {
    fn read(path: Option<&Path>) -> Result<Self, ProbeError> {
        let btf = match path {
            Some(path) => Btf::from_path(path),
            None => Btf::from_vmlinux(),
        };
        Ok(Self { btf: btf.map_err(refused("read the kernel's BTF"))? })
    }

    fn has_struct(&self, name: &str) -> bool {
        self.btf.type_by_name::<libbpf_rs::btf::types::Struct<'_>>(name).is_some()
    }

    fn has_helper(&self, name: &str) -> bool {
        let helpers: Option<Enum<'_>> = self.btf.type_by_name("bpf_func_id");
        helpers.is_some_and(|helpers| helpers.iter().any(|m| m.name.is_some_and(|n| n == name)))
    }
}

/// What libbpf prints at Warn: the reason for an error, which itself carries only a number.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn collect_notes() {
    set_print(Some((PrintLevel::Warn, |_, line| {
        if let Ok(mut notes) = NOTES.lock() {
            notes.push(line.trim().to_owned());
        }
    })));
}

fn refused(action: &'static str) -> impl FnOnce(libbpf_rs::Error) -> ProbeError {
    move |error| {
        let notes = NOTES.lock().map(|mut notes| mem::take(&mut *notes)).unwrap_or_default();
        ProbeError::Refused { action, error, notes }
    }
}
