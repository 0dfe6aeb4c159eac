//! The kernel's side of the house: loads the BPF programs, attaches them, polls the ring, runs
//! the iterators. The only file that names libbpf.

mod btf;
mod error;
mod load;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use caps::Capability;
use libbpf_rs::{Iter, MapCore, RingBuffer, RingBufferBuilder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

pub use self::btf::KernelTypes;
pub use self::error::ProbeError;
use self::error::{collect_notes, failed, refused, take_notes};
use self::load::{Links, load};
use crate::bpf::SockleakSkel;
use crate::event::{self, DecodeError, Record};
use crate::netns;
use crate::privilege::{self, NAMESPACES};
use crate::state::StateSet;
use crate::table::Covered;

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
        privilege::check().map_err(ProbeError::Privilege)?;
        collect_notes();
        let skeleton = load(config)?;

        // Edge-triggered: a ring that has a record in it is always "ready", but only one that fills
        // faster than we come by sends a wake-up.
        let wakeups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|epoll| {
            let edges = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            epoll.add(skeleton.maps.ring.as_fd(), edges).map(|()| epoll)
        });
        let wakeups = wakeups.map_err(failed("watch the ring"))?;

        Ok(Self {
            links: Links::attach(&skeleton)?,
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

    /// Gives up every capability that is of no more use: all, or all that scans do without.
    ///
    /// # Errors
    /// Where the kernel does not even allow that.
    pub fn drop_privilege(&self, scans: bool) -> Result<(), ProbeError> {
        let mut kept = Vec::new();
        if scans && self.links.tcp.is_some() {
            kept.extend(NAMESPACES.needs.iter().map(|need| need.capability));
        }
        if !self.works_with(&kept) {
            kept.push(Capability::CAP_BPF);
        }
        privilege::keep_only(&kept).map_err(failed("give up capabilities"))
    }

    /// Whether what is loaded can be used with these capabilities alone. Before 5.19
    /// (c8644cd0efe7), and with kernel.unprivileged_bpf_disabled, every bpf() needs CAP_BPF.
    fn works_with(&self, kept: &[Capability]) -> bool {
        let files = &self.links.files;
        let try_it = || privilege::keep_only(kept).is_ok() && Iter::new(files).is_ok();
        // Capabilities are a thread's own.
        let works = thread::scope(|scope| scope.spawn(try_it).join().unwrap_or(false));
        take_notes();
        works
    }

    /// Waits until the ring fills, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    ///
    /// # Errors
    /// Where epoll fails.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<bool, ProbeError> {
        // Rounded up: a wait of less than a millisecond is not a busy loop.
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.wakeups.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop, PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll the ring")(errno)),
        }
        let stopped = fds[1].any().unwrap_or(false);
        // What has been told is not told again.
        self.wakeups
            .wait(&mut [EpollEvent::empty()], PollTimeout::ZERO)
            .map_err(failed("poll the ring"))?;
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
        poll(&mut fds, PollTimeout::ZERO).map_err(failed("poll the ring"))?;
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
        let mut queues = false;
        let iter = Iter::new(&self.links.files).map_err(refused("open iter/task_file"))?;
        self.read_iter(iter, |record| {
            queues |= matches!(record, Record::Listener(..));
            report(record);
        })?;
        let Some((walk, tell)) = self.links.queues.as_ref().filter(|_| queues) else {
            return Ok(());
        };
        let open = |link| Iter::new(link).map_err(refused("open iter/bpf_map_elem"));
        let (walk, tell) = (open(walk)?, open(tell)?);
        self.read_iter(walk, |_| {})?;
        self.read_iter(tell, report)?;
        self.forget_queues();
        Ok(())
    }

    /// Empties the maps that the walk along the queues has filled.
    fn forget_queues(&self) {
        let maps = &self.skeleton.maps;
        for map in [&maps.listeners, &maps.queued] {
            for key in map.keys().collect::<Vec<_>>() {
                // Nobody else deletes; and what stayed would be told again, and not be believed.
                let _ = map.delete(&key);
            }
        }
    }

    /// Reports the watched sockets in these network namespaces (`None`: in all there are) that
    /// have no file; and those that have one where they are not the ones whose addresses sum up to
    /// what `known` says. Says where it could look.
    ///
    /// # Errors
    /// Where an iterator fails half-way.
    pub fn scan_tcp(
        &mut self,
        wanted: Option<&[u32]>,
        known: &HashMap<u32, u64>,
        mut report: impl FnMut(Record),
    ) -> Result<Covered, ProbeError> {
        let mut closed = self.inhabited_netns()?;
        let mut namespaces = netns::all();
        closed.retain(|netns| !namespaces.contains_key(netns));
        if !closed.is_empty() {
            // What has ended meanwhile is not hidden, but gone.
            let inhabited = self.inhabited_netns()?;
            closed.retain(|netns| inhabited.contains(netns));
        }
        if let Some(wanted) = wanted {
            namespaces.retain(|netns, _| wanted.contains(netns));
        }
        for (netns, path) in namespaces {
            self.tell_all(false);
            let mut looked = self.scan_tcp_inside(netns, &path, &mut report)?;
            if looked && self.passed_over() != known.get(&netns).copied().unwrap_or(0) {
                self.tell_all(true);
                looked = self.scan_tcp_inside(netns, &path, &mut report)?;
            }
            if !looked {
                closed.insert(netns);
            }
        }
        // One that is wanted and that nobody knows of has no process left, and no name.
        Ok(match wanted {
            None => Covered::AllBut(closed.into_iter().collect()),
            Some(wanted) => {
                let open = |netns: &u32| !closed.contains(netns);
                Covered::Only(wanted.iter().copied().filter(open).collect())
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
            bss.passed_over = 0;
        }
    }

    fn passed_over(&self) -> u64 {
        self.skeleton.maps.bss_data.as_deref().map_or(0, |bss| bss.passed_over)
    }

    /// The network namespaces that somebody lives in, known to /proc or not.
    fn inhabited_netns(&mut self) -> Result<BTreeSet<u32>, ProbeError> {
        let mut iter = Iter::new(&self.links.netns).map_err(refused("open iter/task"))?;
        let mut found = BTreeSet::new();
        let mut filled = 0;
        while let Some(read) = read_some(&mut iter, &mut self.buffer[filled..])? {
            filled += read;
            let (inodes, rest) = self.buffer[..filled].as_chunks();
            found.extend(inodes.iter().copied().map(u32::from_ne_bytes));
            let rest = filled - rest.len()..filled;
            filled = rest.len();
            self.buffer.copy_within(rest, 0);
        }
        // What exits has left its namespaces.
        found.remove(&0);
        Ok(found)
    }

    fn read_iter(
        &mut self,
        mut iter: Iter,
        mut report: impl FnMut(Record),
    ) -> Result<(), ProbeError> {
        let mut filled = 0;
        while let Some(read) = read_some(&mut iter, &mut self.buffer[filled..])? {
            filled += read;
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

/// Reads what an iterator has next; `None` at its end.
fn read_some(iter: &mut Iter, buffer: &mut [u8]) -> Result<Option<usize>, ProbeError> {
    loop {
        match iter.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => return Ok(Some(read)),
            // After a million objects without one of ours the kernel catches its breath.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(failed("read an iterator")(error)),
        }
    }
}
