//! The orders that `leaker script` takes, one a line.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use clap::{Parser, ValueEnum};

/// One order. Descriptors are plain numbers, as the answers tell them.
#[derive(Parser)]
#[command(multicall = true)]
pub(crate) enum Order {
    /// Listen on loopback at a free port; what follows uses the newest listener
    Listen {
        /// The address family
        family: Family,
        /// How many connections may wait
        #[arg(default_value_t = 4096)]
        backlog: i32,
        /// Speak MPTCP
        #[arg(long)]
        mptcp: bool,
        /// Have the clients speak MPTCP, whatever the listener speaks
        #[arg(long)]
        mptcp_clients: bool,
        /// Listen at this address instead
        #[arg(long)]
        at: Option<IpAddr>,
    },
    /// Leave COUNT connections in one condition
    Plant {
        /// The condition
        kind: Kind,
        /// How many
        count: usize,
        /// How many unread bytes each has, for data-unread
        #[arg(default_value_t = 5)]
        bytes: usize,
    },
    /// Accept COUNT connections that wait already
    Accept {
        /// How many
        count: usize,
    },
    /// Start to connect to the listener and do not wait for the outcome
    Dial,
    /// Connect to any listener
    Connect {
        /// Its address
        address: SocketAddr,
    },
    /// Open a socket and do nothing with it
    Unconnected,
    /// Open a socket and bind it to a port
    Bound,
    /// Open a socket, and connect to where nobody listens
    Refused,
    /// Dissolve a connection: connect() to no address family
    Disconnect {
        /// The connection
        fd: RawFd,
    },
    /// Set the size of a buffer; a listener's is inherited by what it accepts
    Buffer {
        /// The socket
        fd: RawFd,
        /// Which of its buffers
        side: Side,
        /// Its size
        bytes: usize,
    },
    /// Send once, or again and again
    Send {
        /// The connection
        fd: RawFd,
        /// How much
        bytes: usize,
        /// How many milliseconds to pause after each
        every: Option<u64>,
    },
    /// Read once, all that was asked for, or again and again, what there is
    Read {
        /// The connection
        fd: RawFd,
        /// How much
        bytes: usize,
        /// How many milliseconds to pause after each
        every: Option<u64>,
    },
    /// Read one connection to its end, and then shut down the sending side of another, in the background
    Relay {
        /// The one
        from: RawFd,
        /// The other
        to: RawFd,
    },
    /// Wait until something has come
    Await {
        /// The connection
        fd: RawFd,
        /// The thing that has to come
        what: Arrival,
    },
    /// Fetch the error that waits at a socket
    FetchError {
        /// The socket
        fd: RawFd,
    },
    /// Read to the end of file
    Drain {
        /// The connection
        fd: RawFd,
    },
    /// Duplicate a descriptor
    Dup {
        /// The descriptor
        fd: RawFd,
    },
    /// Start a child that inherits every connection and listener
    Fork {
        /// The child's name, bytes in hex
        comm: String,
    },
    /// Start COUNT threads that do nothing
    Threads {
        /// How many
        count: usize,
    },
    /// Leave a connection to a thread that has a descriptor table of its own
    Entrust {
        /// The connection
        fd: RawFd,
    },
    /// Send a connection to a socket that nobody reads, and close our own descriptor
    SendAway {
        /// The connection
        fd: RawFd,
    },
    /// Leave a socket to an io_uring's table of direct descriptors, and close our own descriptor
    Install {
        /// The connection or listener
        fd: RawFd,
    },
    /// Shut down the sending side, or both
    Shutdown {
        /// The connection
        fd: RawFd,
        /// Which
        #[arg(default_value = "sending")]
        direction: Shut,
    },
    /// Close a descriptor
    Close {
        /// The descriptor
        fd: RawFd,
    },
    /// Close every connection, but no listener
    CloseAll,
    /// Close with a reset (SO_LINGER with 0 seconds)
    Abort {
        /// The connection
        fd: RawFd,
    },
    /// Probe the peer after one idle second, give up after one lost probe
    Keepalive {
        /// The connection
        fd: RawFd,
    },
    /// Tell the kernel's cookie for a socket
    Cookie {
        /// The socket
        fd: RawFd,
    },
    /// Take loopback up or down
    Loopback {
        /// Which of them
        direction: Direction,
    },
    /// Set the soft limit of descriptors
    Limit {
        /// The limit
        descriptors: u64,
    },
    /// Open and close connections, each through CLOSE_WAIT, until COUNT or MILLISECONDS are reached
    Churn {
        /// At most so many
        count: u64,
        /// At most so long
        milliseconds: u64,
    },
    /// Have clients come and leave at a steady rate, in the background
    Visits {
        /// How many a second
        per_second: u32,
        /// How many milliseconds after its client's end of file the server closes
        lateness: u64,
    },
    /// Start healthy traffic of every kind, in the background
    Healthy,
    /// Tell how many rounds of healthy traffic are over, by kind
    Progress,
    /// Execute this program anew under another name, with the connections still open
    Exec {
        /// The name, bytes in hex
        comm: String,
    },
    /// Exit without closing anything
    Exit,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Family {
    /// 127.0.0.1
    V4,
    /// ::1
    V6,
    /// :: for both; its clients come over IPv4
    Dual,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// The peer has gone, and its end of file was read
    EofRead,
    /// The peer has gone, and nobody looked
    EofUnread,
    /// The peer has gone, and left data that nobody read
    DataUnread,
    /// The accepting side has gone; the leak is the client's
    LeftByServer,
    /// The peer has gone before it was accepted
    NeverAccepted,
    /// The peer has shut down its side and waits
    HalfClosed,
    /// Both sides are there
    Established,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Side {
    /// Data that came and was not read
    Receive,
    /// Data that was written and not acknowledged
    Send,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Arrival {
    /// Something to read
    Data,
    /// The peer's end of file
    Eof,
    /// The end of both directions
    End,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Shut {
    /// We send no more
    Sending,
    /// We neither send nor receive any more
    Both,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Direction {
    /// Packets pass
    Up,
    /// Packets are lost
    Down,
}
