//! Lines for the journal, with fields that can be searched for: its native protocol, a datagram for
//! each line. Where stderr is no stream of the journal's, stderr has to do.

use std::env;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use nix::sys::stat::fstat;

/// Where the journal takes lines.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Urgency of a line, as syslog numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something is wrong.
    Warning = 4,
    /// Something is as it should be.
    Info = 6,
}

/// The journal, or stderr.
#[derive(Debug)]
pub struct Log(Option<UnixDatagram>);

impl Log {
    /// The journal where stderr leads to it, and stderr elsewhere.
    pub fn open() -> Self {
        Self(UnixDatagram::unbound().ok().filter(|_| leads_to_journal()))
    }

    /// Writes a line. Nobody has to read it.
    pub fn line(&self, priority: Priority, message: &str, fields: &[(&str, &str)]) {
        let datagram = || datagram(priority, message, fields);
        let sent = self.0.as_ref().map(|socket| socket.send_to(&datagram(), SOCKET));
        if !matches!(sent, Some(Ok(_))) {
            let _ = writeln!(io::stderr(), "sockleak: {message}");
        }
    }
}

/// Returns true if stderr is the stream that systemd has named.
fn leads_to_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| format!("{}:{}", file.st_dev, file.st_ino) == stream)
}

/// Each field as its name, its length and its bytes: so it may have any bytes.
fn datagram(priority: Priority, message: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let priority = (priority as u8).to_string();
    let own = [("MESSAGE", message), ("PRIORITY", &*priority), ("SYSLOG_IDENTIFIER", "sockleak")];
    let mut bytes = Vec::new();
    for (name, value) in own.iter().chain(fields) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_each_field_with_its_length() {
        let bytes = datagram(Priority::Warning, "a\nb", &[("PID", "7")]);
        let field = |name: &str, value: &str| {
            [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value.as_bytes(), b"\n"]
                .concat()
        };
        let expected = [
            field("MESSAGE", "a\nb"),
            field("PRIORITY", "4"),
            field("SYSLOG_IDENTIFIER", "sockleak"),
            field("PID", "7"),
        ];
        assert_eq!(bytes, expected.concat());
    }
}
