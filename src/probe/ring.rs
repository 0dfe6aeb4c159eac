//! Records, as they come through the ring buffer (`ring.h`), and transitions that are held back in the
//! kernel (`held_back.h`).

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;
use std::{io, mem, ptr};

use libbpf_rs::libbpf_sys::bpf_map_lookup_and_delete_batch;
use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::error::{failed, refused};
use super::{Probe, ProbeError};
use crate::bpf::types::exit_record;
use crate::sock::decode::{DecodeError, decode};
use crate::sock::event::Record;

/// How many bytes a record takes at the least, with the ring's own header.
const SMALLEST_RECORD: usize = size_of::<exit_record>() + 8;

/// Decodes the record that bytes begin with, and says how long it is.
type Decode<R> = fn(&[u8]) -> Result<(R, usize), DecodeError>;

/// The reader of the ring.
pub(super) struct Ring<R> {
    /// Mapped only while records come: both mappings of it count as our memory, twice its size.
    mapped: Option<RingBuffer<'static>>,
    wakeups: Epoll,
    decode: Decode<R>,
    inbox: Rc<RefCell<Inbox<R>>>,
}

/// Records that have come through the ring, and how often bytes came that were no record.
struct Inbox<R> {
    records: Vec<R>,
    undecodable: u64,
}

impl<R> Inbox<R> {
    fn put(&mut self, record: Result<(R, usize), DecodeError>) {
        match record {
            Ok((record, _)) => self.records.push(record),
            Err(_) => self.undecodable += 1,
        }
    }
}

impl<R: 'static> Ring<R> {
    pub(super) fn watch(ring: &impl AsFd, decode: Decode<R>) -> Result<Self, ProbeError> {
        // Edge-triggered: a ring that has a record in it is always "ready", but only one that fills
        // faster than it is read sends a wake-up.
        let wakeups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|epoll| {
            let edges = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            epoll.add(ring, edges).map(|()| epoll)
        });
        let wakeups = wakeups.map_err(failed("watch the ring"))?;
        let inbox = Inbox { records: Vec::new(), undecodable: 0 };
        Ok(Self { mapped: None, wakeups, decode, inbox: Rc::new(RefCell::new(inbox)) })
    }

    /// How often bytes came that were no record.
    pub(super) fn undecodable(&self) -> u64 {
        self.inbox.borrow().undecodable
    }

    /// Counts bytes that were no record, wherever they came from.
    pub(super) fn count_undecodable(&self) {
        self.inbox.borrow_mut().undecodable += 1;
    }

    /// Waits until the ring fills, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    pub(super) fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<bool, ProbeError> {
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
        // Takes the edge, so that it does not wake the next wait.
        self.wakeups
            .wait(&mut [EpollEvent::empty()], PollTimeout::ZERO)
            .map_err(failed("poll the ring"))?;
        Ok(stopped)
    }

    /// Takes everything that has come through the ring, of which this is the map, until now.
    pub(super) fn take(&mut self, map: &impl MapCore) -> Result<Vec<R>, ProbeError> {
        self.consume(map)?;
        Ok(mem::take(&mut self.inbox.borrow_mut().records))
    }

    fn consume(&mut self, map: &impl MapCore) -> Result<(), ProbeError> {
        if !has_records(map)? {
            self.mapped = None;
            return Ok(());
        }
        let ring = match self.mapped.take() {
            Some(ring) => ring,
            None => self.map(map).map_err(refused("map the ring buffer"))?,
        };
        // No more than it has room for: records may come as fast as they are read.
        let most = map.max_entries() as usize / SMALLEST_RECORD;
        let result = self.mapped.insert(ring).consume_raw_n(most);
        if result < 0 {
            return Err(failed("read the ring")(Errno::from_raw(-result)));
        }
        Ok(())
    }

    fn map(&self, map: &impl MapCore) -> libbpf_rs::Result<RingBuffer<'static>> {
        let (inbox, decode) = (Rc::clone(&self.inbox), self.decode);
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            inbox.borrow_mut().put(decode(bytes));
            0
        })?;
        builder.build()
    }
}

fn has_records(map: &impl AsFd) -> Result<bool, ProbeError> {
    let mut fds = [PollFd::new(map.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).map_err(failed("poll the ring"))?;
    Ok(fds[0].any().unwrap_or(false))
}

impl Probe {
    /// Waits until the ring fills, `stop` becomes readable, or the time is over; says whether it
    /// is `stop`.
    ///
    /// # Errors
    /// Where epoll fails.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<bool, ProbeError> {
        self.ring.wait(stop, timeout)
    }

    /// Takes everything that has come through the ring until now, and then everything that is held back. A
    /// record of the ring that comes later may be older.
    ///
    /// # Errors
    /// Where libbpf cannot read it.
    pub fn take(&mut self) -> Result<Vec<Record>, ProbeError> {
        let mut records = self.take_from_ring()?;
        if self.follows_in_brief {
            self.take_all_of(&self.skeleton.maps.held_back)?;
            self.take_all_of(&self.skeleton.maps.ended)?;
        }
        records.append(&mut self.ring.inbox.borrow_mut().records);
        Ok(records)
    }

    /// Takes everything that has come through the ring until now.
    pub(super) fn take_from_ring(&mut self) -> Result<Vec<Record>, ProbeError> {
        self.ring.take(&self.skeleton.maps.ring)
    }

    fn take_all_of(&self, map: &impl MapCore) -> Result<(), ProbeError> {
        let (key_size, value_size) = (map.key_size() as usize, map.value_size() as usize);
        let room = map.max_entries();
        let mut keys = vec![0_u8; key_size * room as usize];
        let mut values = vec![0_u8; value_size * room as usize];
        let mut place = 0_u32;
        let mut is_first = true;
        loop {
            let mut count = room;
            let after = if is_first { ptr::null_mut() } else { (&raw mut place).cast() };
            #[expect(unsafe_code, reason = "libbpf-rs takes any error for the end")]
            let result = unsafe {
                bpf_map_lookup_and_delete_batch(
                    map.as_fd().as_raw_fd(),
                    after,
                    (&raw mut place).cast(),
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    &raw mut count,
                    ptr::null(),
                )
            };
            let error = (result != 0).then(io::Error::last_os_error);
            let is_last =
                error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            if let Some(error) = error.filter(|_| !is_last) {
                return Err(failed("read what is held back")(error));
            }
            for value in values.chunks_exact(value_size).take(count as usize) {
                self.ring.inbox.borrow_mut().put(decode(value));
            }
            if is_last {
                return Ok(());
            }
            is_first = false;
        }
    }
}
