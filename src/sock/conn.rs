//! Identity of a connection: two endpoints in a network namespace.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Serialize, Serializer};

use crate::sock::digits::Digits;

/// An address and a port. A v4-mapped IPv6 address is the IPv4 address it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// As the kernel tells it: it is copied far more often than looked at.
    addr: [u8; 16],
    /// The port, in host order.
    pub port: u16,
}

impl Endpoint {
    /// From 16 bytes in network order.
    pub fn new(addr: [u8; 16], port: u16) -> Self {
        Self { addr, port }
    }

    /// The address.
    pub fn addr(&self) -> IpAddr {
        Ipv6Addr::from(self.addr).to_canonical()
    }

    /// Writes it as it prints.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.addr() {
            IpAddr::V4(addr) => out.write_all(v4(addr, self.port).as_bytes()),
            IpAddr::V6(_) => write!(out, "{self}"),
        }
    }
}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Endpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.addr(), self.port).cmp(&(other.addr(), other.port))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let addr = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self::new(addr.octets(), address.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr() {
            IpAddr::V4(addr) => f.write_str(v4(addr, self.port).as_str()),
            IpAddr::V6(addr) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}

/// An IPv4 endpoint, the usual one, at once.
fn v4(addr: Ipv4Addr, port: u16) -> Digits {
    let mut digits = Digits::new();
    digits.number(port.into());
    let [a, b, c, d] = addr.octets();
    for (number, then) in [(d, b':'), (c, b'.'), (b, b'.'), (a, b'.')] {
        digits.push(then);
        digits.number(number.into());
    }
    digits
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.addr() {
            IpAddr::V4(addr) => serializer.serialize_str(v4(addr, self.port).as_str()),
            IpAddr::V6(_) => serializer.collect_str(self),
        }
    }
}

/// The 4-tuple of a connection and the network namespace (its inode) where it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conn {
    /// Our end.
    pub local: Endpoint,
    /// The peer's end.
    pub remote: Endpoint,
    /// The inode of the network namespace.
    pub netns: u32,
}

impl Conn {
    /// The same connection, seen from the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { local: self.remote, remote: self.local, ..self }
    }

    /// `ipv4` or `ipv6`, as the addresses print.
    pub fn family(&self) -> &'static str {
        match self.local.addr() {
            IpAddr::V4(_) => "ipv4",
            IpAddr::V6(_) => "ipv6",
        }
    }
}

/// The address of a `struct sock` in the kernel's memory. It is reused after the socket
/// is gone, so it identifies a socket only together with its [`Conn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockPtr(pub u64);

impl fmt::Display for SockPtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Digits::of_hex(self.0).as_str())
    }
}

impl Serialize for SockPtr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Digits::of_hex(self.0).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_memory_is_hexadecimal() {
        for address in [0, 9, 0x10, 0xffff_8881_4ee6_2500, u64::MAX] {
            assert_eq!(SockPtr(address).to_string(), format!("{address:#x}"));
        }
    }

    #[test]
    fn endpoints_print_by_their_family() {
        let v4 = Endpoint::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], 9005);
        let v6 = Endpoint::new(Ipv6Addr::LOCALHOST.octets(), 80);
        let any = Endpoint::new([0; 16], 0);
        assert_eq!(v4.to_string(), "127.0.0.1:9005");
        assert_eq!(v6.to_string(), "[::1]:80");
        assert_eq!(any.to_string(), "[::]:0");
        for endpoint in [v4, v6, any, Endpoint { port: 65_535, ..v4 }, Endpoint { port: 10, ..v4 }]
        {
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(json, format!("\"{endpoint}\""));
        }
    }
}
