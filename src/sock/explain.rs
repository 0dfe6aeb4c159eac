//! Explanations of the words in a report: the usual causes, and the cures. `--explain` prints it.
//!
//! `tests/bugs` has a program for each cause that a text names first; `tests/root/bugs.rs` runs it
//! and asserts the verdict.

use std::fmt;
use std::str::FromStr;

use super::leak::Verdict;

/// A word that `--explain` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A verdict.
    Verdict(Verdict),
    /// An owner: nobody was found.
    Unknown,
    /// An owner: no program.
    Kernel,
}

impl Topic {
    /// Every topic, verdicts first.
    pub fn all() -> impl Iterator<Item = Self> {
        let verdicts = Verdict::ALL.into_iter().map(Self::Verdict);
        verdicts.chain([Self::Unknown, Self::Kernel])
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.name(),
            Self::Unknown => "unknown",
            Self::Kernel => "kernel",
        }
    }

    /// The same in a plain sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.summary(),
            Self::Unknown => "no process was found that holds the socket",
            Self::Kernel => "no process holds the socket: the kernel alone keeps it",
        }
    }

    /// A few paragraphs: what it means, the usual causes, the cures.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.explanation(),
            Self::Unknown => UNKNOWN,
            Self::Kernel => KERNEL,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|topic| topic.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::name).collect();
            format!("nothing to explain; there are {}", names.join(", "))
        })
    }
}

impl Verdict {
    /// A few paragraphs: what it means, the usual causes, the cures.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::EofRead => EOF_READ,
            Self::EofUnread => EOF_UNREAD,
            Self::DataUnread => DATA_UNREAD,
            Self::NeverAccepted => NEVER_ACCEPTED,
            Self::Reset => RESET,
            Self::Dead => DEAD,
            Self::HalfClosed => HALF_CLOSED,
            Self::Draining => DRAINING,
            Self::Reserved => RESERVED,
            Self::Unsent => UNSENT,
            Self::Relayed => RELAYED,
            Self::HalfShut => HALF_SHUT,
            Self::Stalled => STALLED,
            Self::Unanswered => UNANSWERED,
            Self::Unaccepted => UNACCEPTED,
            Self::ConnectFailed => CONNECT_FAILED,
            Self::Unconnected => UNCONNECTED,
        }
    }
}

const EOF_READ: &str = "\
The peer closed the connection, or its sending side. The program has read everything,
end-of-file included; it sends nothing and has not closed its descriptor. The classic
leak.

Usual causes: a read of 0 bytes taken for \"nothing yet\"; a handler that takes the socket
out of its event loop and does not close it; an early return or an exception between the
read and the close; a server that allows half-open connections (Node's allowHalfOpen) and
does not end its own side. One cause without a read of 0: a read with room to spare takes
end-of-file along with the last data. So an answer that nobody closed looks the
same where the server had closed before the program read, and all came in one read.

Cures: treat a read of 0 bytes as the end; close on every path out of the handler; tie
the descriptor to a scope (defer, with, try-with-resources, RAII), answers, too.";

const EOF_UNREAD: &str = "\
The peer closed the connection, or its sending side. The program has read all data but
not end-of-file: it has not read from the socket since the peer closed.

Usual causes: an idle connection in a pool that nobody checks; a response body that came
with its header in one read, and that the program neither read to its end nor closed; a
socket that is no longer registered with an event loop; an object that was lost; a worker
that waits for something else (a lock, a slow backend) while its client has given up.

Cures: let the pool drop idle connections sooner than the peer does, and test them before
use; read or close each response body (with, defer); keep idle sockets registered for
EPOLLRDHUP; put a deadline on what workers wait for.";

const DATA_UNREAD: &str = "\
The peer sent data and closed, and nobody reads that data. `unread_bytes` says how much
waits: look at it first.

- Little, after a conversation (`maybe_farewell`): most likely an idle connection in a
  pool, and the bytes are the peer's goodbye: TLS close_notify, HTTP 408, FTP 421,
  HTTP/2 GOAWAY. The program does not look at its idle connections.
- As much as was ever received: the program never read. A worker is stuck or overloaded,
  or the connection was lost right after accept().
- Much, in a client: a response body that was neither read to its end nor closed.

Cures: let the pool drop idle connections sooner than the peer does, and test them before
use; read or close each response body (with, defer); put a deadline on what workers wait
for; close connections whose request is not wanted.";

const NEVER_ACCEPTED: &str = "\
A client connected and left again, and the program has not called accept() for it. The
connection waits in the listener's queue. It takes no descriptor; the row names the
process that listens. While the queue is full, new clients are not let in.

Usual causes: the process is out of descriptors, and accept() fails with EMFILE (compare
`open_fds` with `fd_limit`), often because of other leaks; the thread that accepts is
blocked or has ended; a process inherited the listener and does not know of it.

Cures: mend the leak that took the descriptors, and raise the limit meanwhile; keep the
thread that accepts free of other work; mark listeners close-on-exec.";

const RESET: &str = "\
The connection is gone: a RST destroyed it, an expired keepalive or another time limit of
TCP's, or `ss -K`. It may have been in any state, and in use. The error waits to be
fetched by a read or a write. The socket is in state CLOSE, which ss does not show and
lsof shows as \"protocol: TCP\", but the descriptor is still open.

Usual causes: the peer left with data unread, which makes its kernel send RST, and the
program has not looked at the connection since; the peer was restarted or lost its power;
a leak of another kind that keepalive, or the peer's next RST, has turned into this one.
A count of CLOSE_WAIT that falls by itself is no cure.

Cures: keep idle connections registered with the event loop (EPOLLHUP and EPOLLERR come
unasked), and close on either; put a deadline on what workers wait for.";

const DEAD: &str = "\
The connection is over, no error waits, and the program has kept its descriptor. Either
the program was told of the end (a read or a write has failed with ECONNRESET, ETIMEDOUT
or EPIPE), or both sides have shut down in good order. The socket is in state CLOSE,
which ss does not show and lsof shows as \"protocol: TCP\" or \"can't identify protocol\".

Usual causes: shutdown() taken for close(): it ends the connection and frees no
descriptor; an error handler that logs and returns.

Cures: close after each failed read or write, and after shutdown(); tie the descriptor to
a scope (defer, with, try-with-resources, RAII).";

const HALF_CLOSED: &str = "\
In use. The peer has shut down its sending side (CLOSE_WAIT), and the program still
sends: what it wrote, or what the peer has acknowledged, has moved lately. TCP is made
for this: a client that sends its request, says that there is no more, and reads a long
answer.

Seen with proxies in TCP mode, `nc -N`, rsync and slow downloads. Nothing is to be
mended. Once nothing has moved for `--idle` (60s), the verdict becomes that of a leak or
`unsent`.";

const DRAINING: &str = "\
In use. The peer has finished, its data waits in the receive buffer, and the program
reads it, if slowly.

Nothing is to be mended, unless it is slower than you can afford: then look at what the
reading thread does between its reads. If it reads nothing for `--idle` (60s), the
verdict becomes `data-unread`, or `dead` if the program had shut down its own side, too.";

const RESERVED: &str = "\
In use. The program has bound the socket to a local port and does not listen or connect:
it keeps the port, so that nobody else takes it. docker-proxy and dockerd do so.

Nothing is to be mended, unless their number grows: then the program binds sockets and
forgets them, and ports run out besides descriptors.";

const UNSENT: &str = "\
The peer has shut down its sending side (CLOSE_WAIT), the program has sent data, and the
peer has acknowledged none of it for `--idle` (60s).

Usual causes: the peer has stopped reading: it is stuck, or its user has paused it; the
peer's host is gone. In the first case its kernel answers window probes, and the
connection stays for as long as it does; in the second TCP gives up after some fifteen
minutes (see tcp_retries2), and the verdict becomes `reset`.

Cures: put a deadline on writes, or set TCP_USER_TIMEOUT; look at the peer: `--peer`
names its process where that runs on this host.";

const RELAYED: &str = "\
The program is a proxy. Its client, or its backend, closed or shut down its sending side;
the program passed that on to another connection at once, and waits for that one to end.
The row names the other socket. Only `watch` can tell, for it saw both; `list` says
`eof-read` or `eof-unread`, and that the holder also has half-shut sockets.

Usual causes: the peer of the other socket does not close when it is told that there is
no more. The leak is there, in the other program, as `eof-read` if it runs on Linux.

Cures: mend the program at the other end; meanwhile set the proxy's time limit for
half-closed connections (in haproxy `timeout client-fin` and `timeout server-fin`).";

const HALF_SHUT: &str = "\
The program has shut down its sending side (FIN_WAIT1, FIN_WAIT2, CLOSING or LAST_ACK)
and kept its descriptor, and no data has come for `--idle` (60s). The peer does not
close, and the program waits for it. In FIN_WAIT2 TCP has no time limit while a
descriptor is open.

Usual causes: the other half of a proxy's pair: one of its ends was shut down, the proxy
passed that on, and the peer at the other end does not close. `relayed` or `eof-read`
sockets of the same process go with it. Elsewhere: shutdown(SHUT_WR) in a client that
then reads without a deadline; a server that shuts down and waits for a client that has
no reason to leave.

Cures: mend the peer, in whose hands the connection is leaked (`--peer` names its process
where that runs on this host); close after a deadline instead of waiting for the peer.";

const STALLED: &str = "\
The program does not read, and its receive buffer is full: the peer may not send another
segment. Nothing was read, received or sent for `--idle` (60s). The peer's close cannot
be seen, for its FIN waits behind the data that it cannot send: the state stays
ESTABLISHED, even if the peer's program has ended.

Usual causes: a response body, too large for the buffer, that was neither read to its end
nor closed; a stream that was paused and never resumed; a stuck worker; a message that
nobody asked for on a connection that the program only writes to.

Cures: read or close each response body (with, defer); abort downloads that are not
wanted; put a deadline on what workers wait for.";

const UNANSWERED: &str = "\
The program has sent data, and the peer has acknowledged none of it for `--idle` (60s),
although it was sent again and again: the peer is gone without a word.

Usual causes: its host has lost its power or its network; a firewall or a NAT in between
has forgotten the connection and drops its packets; a virtual machine is paused.

TCP gives up by itself, after some fifteen minutes (see tcp_retries2), and the verdict
becomes `reset`. Cures: TCP_USER_TIMEOUT, or a deadline on answers; keepalive, with
shorter times than the firewall's, for connections that are idle.";

const UNACCEPTED: &str = "\
A client has been connected for `--idle` (60s), and the program has not called accept()
for it. The connection waits in the listener's queue. It takes no descriptor; the row
names the process that listens. The client has not given up yet; once it does, the
verdict becomes `never-accepted`. While the queue is full, new clients are not let in.

Usual causes: the process is out of descriptors, and accept() fails with EMFILE (compare
`open_fds` with `fd_limit`); the thread that accepts is blocked or has ended; all workers
are busy, and nobody accepts before one is free.

Cures: mend the leak that took the descriptors, and raise the limit meanwhile; keep the
thread that accepts free of other work.";

const CONNECT_FAILED: &str = "\
The program called connect(), that failed, and it kept the socket; or it dissolved the
connection with connect(AF_UNSPEC). The socket takes a descriptor and no port. ss does
not show it; lsof says \"protocol: TCP\".

Usual causes: a loop that tries again with a new socket after each refusal or timeout,
and does not close the old one; an exception between connect() and the code that closes.

Cures: close the socket when connect() fails; tie the descriptor to a scope (defer, with,
try-with-resources, RAII).";

const UNCONNECTED: &str = "\
The program made a TCP socket and did not use it: it never connected, was never bound and
does not listen. It takes a descriptor. ss does not show it; lsof says \"protocol: TCP\".

Usual causes: something failed between socket() and connect(), most often the resolution
of the name; a socket made to ask the kernel something (ioctl); a library that makes
sockets ahead of need. A few that do not grow in number are harmless.

Cures: resolve before you make the socket; close it on every path out; tie the descriptor
to a scope (defer, with, try-with-resources, RAII).";

const UNKNOWN: &str = "\
The socket exists, and no descriptor that could be looked at refers to it. It is shown
without an owner rather than with a wrong one.

Usual causes: it is in flight: sent over a unix socket (SCM_RIGHTS), and not received
yet; it is in an io_uring's table of direct descriptors; its holder is outside the PID
namespace that sockleak runs in; it was passed on while descriptors were read; under
`watch`, no scan has looked since the row began.

In place of a verdict the word says that it cannot be told what the program has read: the
connection is MPTCP's, or no scan has read the socket.

What helps: look again; run on the host instead of in a container; look for the receiver
of a unix socket that has stopped reading (`ss -xp`), and for programs that use io_uring.";

const KERNEL: &str = "\
No program has a descriptor for the socket, and none can get one again. Closing a
descriptor does not end the connection at once: the kernel sends what is left, waits for
the peer, and keeps the socket until then (FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK).
Connections that the kernel made for itself, such as those of a network file system, look
the same.

No program on this host leaks such a socket. Time limits end it once it is closed:
tcp_fin_timeout in FIN_WAIT2, tcp_orphan_retries elsewhere. Many in FIN_WAIT2 say that
the peers do not close: look for leaks there. Many in FIN_WAIT1 or LAST_ACK say that
peers do not answer, or do not read what was sent.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Topic;

    #[test]
    fn each_name_is_a_topic() {
        for topic in Topic::all() {
            assert_eq!(topic.name().parse(), Ok(topic));
        }
    }

    #[test]
    fn an_error_lists_all_names() {
        let error = "bad-luck".parse::<Topic>().unwrap_err();
        for topic in Topic::all() {
            assert!(error.contains(topic.name()), "{topic} in {error}");
        }
    }

    #[test]
    fn each_text_is_its_own_and_fits_a_terminal() {
        let texts: BTreeSet<_> = Topic::all().map(Topic::explanation).collect();
        assert_eq!(texts.len(), Topic::all().count());
        for text in texts {
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(90), "{longest:?} in {text}");
            assert!(text.ends_with('.') && text.contains("\n\n"), "{text}");
        }
    }

    /// Words in backquotes that look like a verdict are one.
    #[test]
    fn texts_name_verdicts_that_exist() {
        for text in Topic::all().map(Topic::explanation) {
            for word in text.split('`').skip(1).step_by(2).filter(|word| word.contains("-")) {
                let is_other = word.starts_with("--") || word.contains(' ');
                assert!(is_other || word.parse::<Topic>().is_ok(), "{word} in {text}");
            }
        }
    }
}
