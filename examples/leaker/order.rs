//! The orders that `leaker script` takes, one a line.

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
    /// Open a socket and do nothing with it
    Unconnected,
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
    /// Shut down the sending side
    Shutdown {
        /// The connection
        fd: RawFd,
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

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Direction {
    /// Packets pass
    Up,
    /// Packets are lost
    Down,
}
