//! Where the exporter listens: on an address, on a unix socket, or on the sockets that systemd has
//! opened for it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, net::Ipv4Addr};

use nix::sys::socket::{Backlog, listen};
use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted.
const QUEUE: i32 = 1_024;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9736)))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("give a path after unix:, such as unix:/run/sockleak.sock".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "give an IP address and a port, such as 127.0.0.1:9736 or [::]:9736, or unix:PATH"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/metrics"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On an IP address.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// Where the address is in use, or is none of this host's.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                // Who finds the queue full tries again in a second: 128, the default, are soon there.
                listen(&listener, Backlog::new(QUEUE)?)?;
                Ok(Self::Tcp(listener))
            }
            Address::Unix(path) => bind_unix(path).map(Self::Unix),
        }
    }

    /// The sockets that systemd has passed.
    ///
    /// # Errors
    /// Where one of them does not listen for streams.
    pub fn passed() -> io::Result<Vec<Self>> {
        sd_notify::listen_fds()?.map(Self::from_systemd).collect()
    }

    fn from_systemd(fd: i32) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "LISTEN_PID says that it is ours, and nobody else takes it")]
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let domain = socket.local_addr()?.domain();
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::other(format!("descriptor {fd} does not listen for streams")));
        }
        match domain {
            Domain::UNIX => Ok(Self::Unix(OwnedFd::from(socket).into())),
            _ => Ok(Self::Tcp(OwnedFd::from(socket).into())),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }
}

/// Listens on a path, also where an exporter that was killed has left its socket.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refuses = || UnixStream::connect(path).map_err(|error| error.kind());
    is_socket && refuses().is_err_and(|kind| kind == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("127.0.0.1:9736".parse(), Ok(Address::default()));
        assert_eq!("unix:/run/a b".parse(), Ok(Address::Unix("/run/a b".into())));
        assert_eq!("[::]:1".parse::<Address>().unwrap().to_string(), "http://[::]:1/metrics");
        for bad in ["", "9736", ":9736", "localhost:9736", "127.0.0.1", "unix:", "/run/sock"] {
            assert!(bad.parse::<Address>().unwrap_err().contains("such as"), "{bad}");
        }
    }

    #[test]
    fn only_a_socket_that_nobody_serves_is_replaced() {
        let path = std::env::temp_dir().join(format!("sockleak-listen-{}", std::process::id()));
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address).unwrap();
        assert_eq!(first.address().unwrap(), address);
        assert_eq!(Listener::bind(&address).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(path.exists());
        drop(Listener::bind(&address).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(Listener::bind(&address).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
}
