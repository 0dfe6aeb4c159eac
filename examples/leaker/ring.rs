//! Sockets in an io_uring's table of direct descriptors: no descriptor of the process refers to them.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use io_uring::IoUring;

/// The slots of the table, a sparse one: one slot is taken at a time.
const SLOTS: usize = 8;

/// A ring with a table.
pub(crate) struct Ring {
    ring: IoUring,
    taken: u32,
}

impl Ring {
    pub(crate) fn new() -> Result<Self> {
        let ring = IoUring::new(8).context("io_uring_setup")?;
        ring.submitter().register_files(&[-1; SLOTS]).context("a sparse table of files")?;
        Ok(Self { ring, taken: 0 })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Installs a file in the next free slot, the third at first; the slot.
    pub(crate) fn install(&mut self, fd: RawFd) -> Result<u32> {
        let slot = 2 + self.taken;
        self.ring.submitter().register_files_update(slot, &[fd]).context("installing a file")?;
        self.taken += 1;
        Ok(slot)
    }
}
