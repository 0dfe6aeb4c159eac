//! The kernel's side of the house: loads the BPF programs, attaches them, polls the ring, runs
//! the iterators. The only part that names libbpf.

mod btf;
mod ehash;
mod error;
mod extract;
mod load;
mod scan;
mod source;

use std::cell::RefCell;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use caps::Capability;
use libbpf_rs::libbpf_sys::{bpf_prog_get_info_by_fd, bpf_prog_info};
use libbpf_rs::{Iter, Link, ProgramMut, RingBuffer, RingBufferBuilder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

pub use self::btf::KernelTypes;
pub use self::error::ProbeError;
use self::error::{collect_notes, failed, refused, take_notes};
use self::load::{Links, load};
use crate::bpf::SockleakSkel;
use crate::bpf::types::{bss, held_back};
use crate::host::privilege::{self, NAMESPACES};
use crate::sock::event::{self, DecodeError, Record};
use crate::sock::state::StateSet;

/// What to load.
#[derive(Clone, Debug)]
pub struct Config {
    /// The states of the sockets that scans report.
    pub watched: StateSet,
    /// The states whose edges are reported as they happen; with none, there is nothing to attach.
    pub transitions: StateSet,
    /// Whether of sockets that leave these states only the address is reported; and of none, who
    /// made it change. That will do for a table.
    pub brief: bool,
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
    links: Arc<Links>,
    /// From it the programs learn what the files of sockets have in common.
    _own_socket: UnixDatagram,
    tracepoint: Option<[Link; 2]>,
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
        let own_socket = UnixDatagram::unbound().map_err(failed("open a socket"))?;
        let skeleton = load(config, &own_socket)?;

        // Edge-triggered: a ring that has a record in it is always "ready", but only one that fills
        // faster than we come by sends a wake-up.
        let wakeups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|epoll| {
            let edges = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            epoll.add(skeleton.maps.ring.as_fd(), edges).map(|()| epoll)
        });
        let wakeups = wakeups.map_err(failed("watch the ring"))?;

        Ok(Self {
            links: Arc::new(Links::attach(&skeleton)?),
            _own_socket: own_socket,
            tracepoint: None,
            skeleton,
            ring: None,
            wakeups,
            inbox: Rc::default(),
        })
    }

    /// Begins to report transitions.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach(&mut self) -> Result<(), ProbeError> {
        let attach = |program: &ProgramMut<'_>| {
            program.attach().map_err(refused("attach tp_btf/inet_sock_set_state"))
        };
        let progs = &self.skeleton.progs;
        // They are called in this order.
        self.tracepoint = Some([attach(&progs.on_set_state)?, attach(&progs.on_skipped)?]);
        Ok(())
    }

    /// Gives up every capability that is of no more use: all, or all that scans do without.
    ///
    /// # Errors
    /// Where the kernel does not even allow that.
    pub fn drop_privilege(&self, scans: bool) -> Result<(), ProbeError> {
        let mut kept = Vec::new();
        if scans && self.links.netns.is_some() {
            kept.extend(NAMESPACES.needs.iter().map(|need| need.capability));
        }
        if !self.works_with(&kept) {
            kept.push(Capability::CAP_BPF);
        }
        privilege::give_up_all_but(&kept).map_err(failed("give up capabilities"))
    }

    /// Whether what is loaded can be used with these capabilities alone. Before 5.19
    /// (c8644cd0efe7), and with kernel.unprivileged_bpf_disabled, every bpf() needs CAP_BPF.
    fn works_with(&self, kept: &[Capability]) -> bool {
        let files = &self.links.files;
        let try_it = || privilege::keep_only(kept).is_ok() && Iter::new(files).is_ok();
        // Capabilities are a thread's own.
        let works = thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, try_it);
            thread.is_ok_and(|thread| thread.join().unwrap_or(false))
        });
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

    /// Whether sockets that enter these states are told only once they stay: the next
    /// [`Probe::take_passing`] tells of them. Before that, and before a scan, it has to be off for
    /// [`SLACK_NS`](crate::sock::age::SLACK_NS): a program that was just running may not have heard of it.
    pub fn hold_back(&mut self, yes: bool) {
        self.set_global(|bss| &mut bss.hold_back, yes);
    }

    /// Takes what was held back and has not left. What [`Probe::take`] told before is older.
    pub fn take_passing(&mut self) -> Vec<Record> {
        let mut inbox = self.inbox.borrow_mut();
        let places = self.skeleton.maps.bss_data.as_deref_mut().map(|bss| &mut bss.held_back);
        for place in places.into_iter().flatten().filter(|place| place.claims > 0) {
            #[expect(unsafe_code, reason = "the programs may just be writing it")]
            let found = unsafe {
                let place = ptr::from_mut(place);
                let found = place.read_volatile();
                place.write_volatile(held_back::default());
                found
            };
            if found.record.ktime > 0 {
                inbox.put(event::transition(&found.record).map(Record::Transition));
            }
        }
        mem::take(&mut inbox.records)
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

    /// How many transitions have not been reported, since the start.
    pub fn lost(&self) -> u64 {
        self.dropped() + self.skipped()
    }

    /// How many of them found no room in the ring.
    pub fn dropped(&self) -> u64 {
        self.global(|bss| &bss.lost)
    }

    /// How many listeners, and sockets in their queues, the last scan had no room to note.
    pub fn queues_lost(&self) -> u64 {
        self.global(|bss| &bss.queues_lost)
    }

    /// How often bytes came that were no record, since the start.
    pub fn undecodable(&self) -> u64 {
        self.inbox.borrow().undecodable
    }

    /// How many the kernel did not show to our programs, because they happened while these were
    /// interrupted on their CPU.
    fn skipped(&self) -> u64 {
        if self.tracepoint.is_none() {
            return 0;
        }
        let mut info = bpf_prog_info::default();
        let mut size = u32::try_from(size_of_val(&info)).unwrap_or(0);
        let program = self.skeleton.progs.on_set_state.as_fd().as_raw_fd();
        #[expect(unsafe_code, reason = "libbpf-rs has it only for programs that it finds itself")]
        let result = unsafe { bpf_prog_get_info_by_fd(program, &raw mut info, &raw mut size) };
        let skipped = if result == 0 { info.recursion_misses } else { 0 };
        // Read in this order: what is recovered was skipped before.
        skipped.saturating_sub(self.global(|bss| &bss.recovered))
    }

    /// Whether since the last scan a connection has come to its end with its descriptor open, so
    /// that only a scan can tell whether it is leaked.
    pub fn left_open(&self) -> bool {
        self.global(|bss| &bss.left_open)
    }

    /// Notes that only a scan can tell whether some connection is leaked; or that none is such.
    pub fn set_left_open(&mut self, yes: bool) {
        self.set_global(|bss| &mut bss.left_open, yes);
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

    /// A variable that the programs write at any time.
    fn global<T: Copy + Default>(&self, which: impl FnOnce(&bss) -> &T) -> T {
        let bss = self.skeleton.maps.bss_data.as_deref();
        #[expect(unsafe_code, reason = "it must be read from memory, each time")]
        bss.map_or_else(T::default, |bss| unsafe { ptr::from_ref(which(bss)).read_volatile() })
    }

    /// How long a queue may be before its rest is not walked.
    pub fn queue_bound(&self) -> u32 {
        match self.skeleton.progs.walk_queues.autoload() {
            true => 1 << 16,
            false => 1 << 10,
        }
    }
}
