//! Reads the rows that tools print.

use std::net::SocketAddr;

use serde::Deserialize;

/// A socket and its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) owner: Option<Owner>,
}

/// A process, and its descriptor where the tool prints it.
pub(crate) type Owner = (u32, Option<i32>);

/// Reads a tool's output.
pub(crate) type Parser = fn(&str) -> Vec<Row>;

/// The parts of a JSON report that the benchmark reads.
#[derive(Deserialize)]
pub(crate) struct Report {
    pub(crate) lost_events: u64,
    sockets: Vec<Socket>,
}

#[derive(Deserialize)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    pid: Option<u32>,
    fds: Vec<i32>,
}

impl Report {
    /// The last complete report of a stream.
    pub(crate) fn last(text: &str) -> Option<Self> {
        let parse = |line| serde_json::from_str(line).ok();
        text.lines().rev().find_map(parse)
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let owner = |socket: &Socket| Some((socket.pid?, socket.fds.first().copied()));
        self.sockets
            .iter()
            .map(|socket| Row { local: socket.local, remote: socket.remote, owner: owner(socket) })
            .collect()
    }
}

/// `sockleak --json`.
pub(crate) fn sockleak_json(text: &str) -> Vec<Row> {
    Report::last(text).map_or_else(Vec::new, |report| report.rows())
}

/// `sockleak`: `AGE … PID COMM FD LOCAL REMOTE …`. The first line says where PID is.
pub(crate) fn sockleak_text(text: &str) -> Vec<Row> {
    let head = text.lines().find(|line| line.trim_start().starts_with("AGE "));
    let place = head.and_then(|head| head.split_whitespace().position(|name| name == "PID"));
    rows(text, |words, at| {
        let pid = words.get(place?)?.parse().ok()?;
        let fd = words.get(at.checked_sub(1)?)?.parse().ok();
        Some((pid, fd))
    })
}

/// `ss -tn[p] state close-wait`: `Recv-Q Send-Q Local Peer users:(("comm",pid=7,fd=5))`.
pub(crate) fn ss(text: &str) -> Vec<Row> {
    rows(text, |words, at| {
        let users = words.get(at + 2)?;
        let number = |name: &str| {
            let (_, rest) = users.split_once(name)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()
        };
        Some((number("pid=")?.parse().ok()?, number("fd=")?.parse().ok()))
    })
}

/// `lsof -nP -iTCP`: `COMMAND PID USER FD TYPE … LOCAL->REMOTE (CLOSE_WAIT)`. A descriptor of more
/// than four digits is truncated (`*345u`), and is not read.
pub(crate) fn lsof(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = words.iter().find_map(|word| word.split_once("->"))?;
        let fd = words.get(3)?.trim_end_matches(|c: char| !c.is_ascii_digit());
        Some(Row {
            local: local.parse().ok()?,
            remote: remote.parse().ok()?,
            owner: Some((words.get(1)?.parse().ok()?, fd.parse().ok())),
        })
    };
    text.lines().filter_map(row).collect()
}

/// Reads the lines with two addresses side by side. `owner` gets the words and the place of the
/// first address.
fn rows(text: &str, owner: impl Fn(&[&str], usize) -> Option<Owner>) -> Vec<Row> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_address = |word: &&str| word.parse::<SocketAddr>().is_ok();
        let at = words.iter().position(is_address)?;
        Some(Row {
            local: words[at].parse().ok()?,
            remote: words.get(at + 1)?.parse().ok()?,
            owner: owner(&words, at),
        })
    };
    text.lines().filter_map(row).collect()
}

/// Events that a tool reports lost: in a stream of JSON reports, or in messages.
pub(crate) fn lost(out: &str, err: &str) -> u64 {
    if let Some(report) = Report::last(out) {
        return report.lost_events;
    }
    let complaints = out.lines().chain(err.lines()).filter(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("lost") && line.contains("events")
    });
    let number = |line: &str| {
        let mut words = line.split(|c: char| !c.is_ascii_digit());
        words.find_map(|word| word.parse::<u64>().ok())
    };
    complaints.filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_the_same_in_its_own_words() -> Result<(), std::net::AddrParseError> {
        let row = Row {
            local: "127.0.0.1:9005".parse()?,
            remote: "127.1.0.1:10000".parse()?,
            owner: Some((42, Some(5))),
        };
        let json = r#"{"lost_events":0,"sockets":[{"local":"127.0.0.1:9005",
            "remote":"127.1.0.1:10000","pid":42,"fds":[5]}]}"#;
        assert_eq!(sockleak_json(&json.replace('\n', "")), [row]);
        let text = "   AGE PID COMM    FD LOCAL          REMOTE          VERDICT\n\
                    >=1.5s  42 compare  5 127.0.0.1:9005 127.1.0.1:10000 eof-unread\n";
        assert_eq!(sockleak_text(text), [row]);
        let text = "Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n\
                    1 0 127.0.0.1:9005 127.1.0.1:10000 users:((\"compare\",pid=42,fd=5))\n";
        assert_eq!(ss(text), [row]);
        let text =
            "compare 42 root 5u IPv4 33 0t0 TCP 127.0.0.1:9005->127.1.0.1:10000 (CLOSE_WAIT)";
        assert_eq!(lsof(text), [row]);
        Ok(())
    }

    #[test]
    fn without_an_owner_there_is_none() {
        let rows = ss("1 0 127.0.0.1:9005 127.1.0.1:10000\n");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].owner, None);
    }

    #[test]
    fn losses_add_up() {
        assert_eq!(lost("", "lost 7 events on CPU #1\nlost 5 events on CPU #0\n"), 12);
        assert_eq!(lost("Lost 3 events\n", ""), 3);
        assert_eq!(lost("", "sockleak: 9 events lost: try a larger --ring-size\n"), 9);
        assert_eq!(lost("{\"lost_events\":4,\"sockets\":[]}\n", ""), 4);
    }
}
