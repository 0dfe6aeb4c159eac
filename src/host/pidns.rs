//! The PID namespace that we live in, whose numbers we print.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The inode of the host's: `PROC_PID_INIT_INO` in the kernel.
pub const INITIAL: u32 = 0xEFFF_FFFC;

/// The remedy where processes cannot be seen from another.
pub const REMEDY: &str = "run it in the host's (docker run --pid=host)";

/// The inode of our PID namespace.
///
/// # Errors
/// Where /proc is not there, or belongs to a PID namespace that we are not in.
pub fn own() -> io::Result<u32> {
    of_proc(Path::new("/proc"))
}

/// Returns true if we are not in the host's, so that there are processes that we cannot see.
pub fn is_inner() -> bool {
    own().is_ok_and(|own| own != INITIAL)
}

/// The inode of the PID namespace that we have in this /proc.
///
/// # Errors
/// As [`own`].
pub fn of_proc(proc: &Path) -> io::Result<u32> {
    let namespaces = proc.join("self/ns");
    match fs::metadata(namespaces.join("pid")) {
        Ok(namespace) => u32::try_from(namespace.ino()).map_err(io::Error::other),
        // A kernel without CONFIG_PID_NS has one namespace only.
        Err(error) if error.kind() == io::ErrorKind::NotFound && namespaces.is_dir() => Ok(INITIAL),
        Err(error) => Err(error),
    }
}
