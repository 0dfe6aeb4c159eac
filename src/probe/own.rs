//! Files of our own, from which the programs learn what all files of their kind have in common: their
//! `file_operations`.

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::libc;

use super::ProbeError;
use super::error::failed;

pub(super) struct OwnFiles {
    pub(super) socket: UnixDatagram,
    /// An io_uring; `None` where the kernel has none, or does not let us.
    pub(super) ring: Option<OwnedFd>,
}

impl OwnFiles {
    pub(super) fn open() -> Result<Self, ProbeError> {
        let socket = UnixDatagram::unbound().map_err(failed("open a socket"))?;
        Ok(Self { socket, ring: ring() })
    }
}

/// Makes the smallest io_uring that there is.
fn ring() -> Option<OwnedFd> {
    // `struct io_uring_params`, of which the kernel fills in what is not 0.
    let mut params = [0_u32; 30];
    #[expect(unsafe_code, reason = "no library that we use makes io_urings")]
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    #[expect(unsafe_code, reason = "the kernel has just made it for us")]
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
