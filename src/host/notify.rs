//! Tells the service manager how we are, as sd_notify(3) has it.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Tells a state to the service manager, if one has started us and wants to know.
///
/// # Errors
/// Where it does not take it.
pub fn tell(state: &NotifyState<'_>) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    // sd-notify takes the name of an abstract socket for a path.
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    UnixDatagram::unbound()?.send_to_addr(state.to_string().as_bytes(), &address?)?;
    Ok(())
}
