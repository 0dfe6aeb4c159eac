//! The exporter under systemd: sockets, readiness, a watchdog, a journal. The protocols are spoken here
//! by the tests and by systemd's own tools: there need be no systemd.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::common::lines::Running;
use crate::common::tool::binary;
use crate::common::{Cgroups, DEADLINE, Kind, Leaker, wait_until};
use crate::web::{Exporter, free_port, get};

/// A datagram socket in a folder of its own.
struct Mailbox {
    folder: PathBuf,
    socket: UnixDatagram,
}

impl Mailbox {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sockleak-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let socket = UnixDatagram::bind(folder.join("socket")).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        Self { folder, socket }
    }

    /// Waits for a datagram that satisfies the condition; those before it are dropped.
    #[track_caller]
    fn wait_for(&self, what: &str, holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let end = Instant::now() + DEADLINE;
        let mut datagram = vec![0; 64 << 10];
        while Instant::now() < end {
            match self.socket.recv(&mut datagram) {
                Ok(length) if holds(&datagram[..length]) => return datagram[..length].to_vec(),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{DEADLINE:?} without {what}");
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn it_tells_that_it_is_ready_turns_and_stops() {
    let leaker = Leaker::start();
    let mailbox = Mailbox::new("notify");
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", mailbox.folder.join("socket"));
    // Shorter than the interval: a report is not the only sign of life.
    command.env("WATCHDOG_USEC", "200000");
    let netns = leaker.netns.to_string();
    command.args(["export", "--listen", "127.0.0.1:0", "--interval", "1h", "--netns", &netns]);
    let mut exporter = Running::start(command.stdin(Stdio::null()));
    let has = |text: &'static str| {
        move |got: &[u8]| got.split(|&byte| byte == b'\n').any(|line| line == text.as_bytes())
    };
    mailbox.wait_for("READY", has("READY=1"));
    mailbox.wait_for("WATCHDOG", has("WATCHDOG=1"));
    mailbox.wait_for("another WATCHDOG", has("WATCHDOG=1"));
    exporter.signal(Signal::SIGTERM);
    mailbox.wait_for("STOPPING", has("STOPPING=1"));
    assert_eq!(exporter.end(DEADLINE).code(), Some(0));
}

/// The name of a socket in the abstract namespace begins with an @.
#[test]
fn it_tells_an_abstract_socket() {
    let leaker = Leaker::start();
    let name = format!("sockleak-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mailbox = UnixDatagram::bind_addr(&address).unwrap();
    mailbox.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let _exporter = Exporter::start_by(command, &leaker, &[]);
    let mut datagram = [0; 64];
    let length = mailbox.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"READY=1");
}

#[test]
fn it_takes_a_socket_that_systemd_opened() {
    let leaker = Leaker::start();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address]).arg(binary());
    command.args(["export", "--netns", &leaker.netns.to_string()]);
    let exporter = Running::start(command.stdin(Stdio::null()));
    wait_until("it listens", || exporter.stderr().contains("Listening on"));
    // The first client has it started.
    wait_until("it serves", || get(&address, "/metrics").status == 200);
    wait_until("it says so", || exporter.stderr().contains(&format!("serves http://{address}")));
}

/// The value of a field in the journal's native protocol.
fn field<'a>(datagram: &'a [u8], name: &str) -> Option<&'a str> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
        let length = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap());
        let value = &rest[end + 9..end + 9 + usize::try_from(length).unwrap()];
        if &rest[..end] == name.as_bytes() {
            return Some(std::str::from_utf8(value).unwrap());
        }
        rest = &rest[end + 9 + value.len() + 1..];
    }
    None
}

#[test]
fn its_lines_have_fields_in_the_journal() {
    let mut cgroups = Cgroups::unified();
    let mut leaker = Leaker::listening();
    cgroups.put("shop.service", leaker.pid);
    let mailbox = Mailbox::new("journal");
    let mut command = Command::new("unshare");
    let script = r#"
        mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal || exit 9
        JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@""#;
    command.args(["--mount", "sh", "-c", script]).arg(&mailbox.folder).arg(binary());
    let netns = leaker.netns.to_string();
    command.args(["export", "--listen", "127.0.0.1:0", "--netns", &netns]);
    command.args(["--interval", "200ms", "--min-age", "0s"]);
    let mut exporter = Running::start(command.stdin(Stdio::null()));
    let message = |datagram: &[u8]| field(datagram, "MESSAGE").unwrap().to_owned();
    let first = mailbox.wait_for("its address", |line| message(line).starts_with("serves http://"));
    assert_eq!(field(&first, "SYSLOG_IDENTIFIER"), Some("sockleak"));
    assert_eq!(field(&first, "PID"), None);
    leaker.plant(Kind::EofRead, 3);
    let pid = leaker.pid.to_string();
    let begin = mailbox.wait_for("a begin", |line| message(line).contains(" leaks "));
    assert_eq!((field(&begin, "PRIORITY"), field(&begin, "PID")), (Some("4"), Some(&*pid)));
    assert_eq!(field(&begin, "UNIT"), Some("shop.service"));
    leaker.close_all();
    let end = mailbox.wait_for("an end", |line| message(line).contains(" leaks no more"));
    assert_eq!((field(&end, "PRIORITY"), field(&end, "PID")), (Some("6"), Some(&*pid)));
    assert_eq!(exporter.stderr(), "", "nothing is said twice");
    exporter.signal(Signal::SIGTERM);
    assert_eq!(exporter.end(DEADLINE).code(), Some(0));
    drop(leaker);
}

/// A journal that takes nothing, and a stream that is another's, leave stderr.
#[test]
fn without_a_journal_lines_go_to_stderr() {
    let leaker = Leaker::start();
    let mut command = Command::new(binary());
    command.env("JOURNAL_STREAM", "1:1");
    let exporter = Exporter::start_by(command, &leaker, &[]);
    assert!(exporter.process.stderr().starts_with("sockleak: serves http://127.0.0.1:"));
}
