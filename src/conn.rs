//! What identifies a connection: two endpoints in a network namespace.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// An address and a port. A v4-mapped IPv6 address is the IPv4 address it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub addr: IpAddr,
    /// The port, in host order.
    pub port: u16,
}

impl Endpoint {
    /// From 16 bytes in network order.
    pub fn new(addr: [u8; 16], port: u16) -> Self {
        Self { addr: Ipv6Addr::from(addr).to_canonical(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(addr) => f.write_str(Digits::of_v4(addr, self.port).as_str()),
            IpAddr::V6(addr) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}

/// An IPv4 endpoint, to be written at once: `write!` takes ten calls for it, which was a third of
/// the time of a long report.
struct Digits {
    /// `255.255.255.255:65535`, from its end to its beginning.
    text: [u8; 21],
    begin: usize,
}

impl Digits {
    fn of_v4(addr: Ipv4Addr, port: u16) -> Self {
        let mut digits = Self { text: [0; 21], begin: 21 };
        let [a, b, c, d] = addr.octets();
        digits.number(port);
        for (number, then) in [(d, b':'), (c, b'.'), (b, b'.'), (a, b'.')] {
            digits.push(then);
            digits.number(number.into());
        }
        digits
    }

    fn number(&mut self, mut number: u16) {
        loop {
            self.push(b"0123456789"[usize::from(number % 10)]);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.begin -= 1;
        self.text[self.begin] = byte;
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.text[self.begin..]).unwrap_or_default()
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.addr {
            IpAddr::V4(addr) => serializer.serialize_str(Digits::of_v4(addr, self.port).as_str()),
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
    /// `ipv4` or `ipv6`, as the addresses print.
    pub fn family(&self) -> &'static str {
        match self.local.addr {
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
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for SockPtr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
