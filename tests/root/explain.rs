//! `--explain`: each verdict, in the words of the program that has the bug; and such programs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::sockleak;
use crate::common::{DEADLINE, Leaker, list, not_possible};

const WORDS: [&str; 18] = [
    "eof-read",
    "eof-unread",
    "data-unread",
    "never-accepted",
    "reset",
    "dead",
    "half-closed",
    "draining",
    "reserved",
    "unsent",
    "relayed",
    "half-shut",
    "stalled",
    "unanswered",
    "unaccepted",
    "connect-failed",
    "unconnected",
    "unknown",
];

fn explained(word: &str) -> String {
    let ran = sockleak(&["list", "--explain", word]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{word}: {ran:?}");
    ran.text().to_lowercase()
}

#[test]
fn every_word_of_a_row_is_explained_in_its_own_words() {
    let mut seen = BTreeMap::new();
    for word in WORDS.into_iter().chain(["kernel"]) {
        let text = explained(word);
        assert!(text.split_whitespace().count() >= 20, "{word}: {text}");
        assert_eq!(seen.insert(text, word), None, "{word} has another's text");
    }
}

#[test]
fn the_texts_name_the_bugs_that_give_these_verdicts() {
    let names = |word: &str, part: &str| explained(word).contains(part);
    // A body that nobody closes gives these two, by whether it came with its header.
    for word in ["eof-unread", "data-unread"] {
        assert!(names(word, "response bod"), "{word}: {}", explained(word));
    }
    assert!(!names("eof-read", "resp.body") && !names("eof-read", "response bod"));
    assert!(names("data-unread", "pool"), "an idle connection's farewell");
    assert!(!names("reset", "had closed"), "it may come from any state");
    assert!(names("half-shut", "prox"), "the usual cause");
}

/// One bug for each verdict. Prints `VERDICT LOCAL-ADDRESS` for each socket that it leaks, and keeps them.
const PROGRAM: &str = r#"
import http.client, socket, sys, threading, time

kept = []

def server(handle):
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        while True:
            handle(listener.accept()[0])
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]

def name(sock):
    return "%s:%d" % sock.getsockname()

def response(pause):
    def handle(client):
        client.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n"
        if pause:
            client.sendall(head)
            asked.wait()
            client.sendall(b"x" * 2000)
        else:
            client.sendall(head + b"x" * 2000)
        client.close()
    asked = threading.Event()
    connection = http.client.HTTPConnection("127.0.0.1", server(handle))
    connection.request("GET", "/")
    address = name(connection.sock)
    kept.append(connection.getresponse())
    asked.set()
    return address

def lost_while_reading():
    sock = socket.create_connection(("127.0.0.1", server(lambda client: client.close())))
    while sock.recv(4096):
        pass
    kept.append(sock)
    return name(sock)

def ignored_error():
    def handle(client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    sock = socket.create_connection(("127.0.0.1", server(handle)))
    try:
        sock.recv(4096)
    except ConnectionResetError:
        pass
    kept.append(sock)
    return name(sock)

def shut_down_not_closed():
    sock = socket.create_connection(("127.0.0.1", server(lambda client: client.close())))
    while sock.recv(4096):
        pass
    address = name(sock)
    sock.shutdown(socket.SHUT_RDWR)
    kept.append(sock)
    return address

print("eof-unread", response(pause=False))
print("data-unread", response(pause=True))
print("eof-read", lost_while_reading())
print("dead", ignored_error())
print("dead", shut_down_not_closed())
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn programs_with_these_bugs_give_these_verdicts() {
    let place = Leaker::start();
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).stdin(Stdio::piped());
    match Command::new("python3").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return not_possible("explain::programs", "no python3");
        }
        other => assert!(other.unwrap().status.success()),
    }
    let mut program = place.inside(|| Running::start(&mut command));
    let mut wanted = Vec::new();
    loop {
        let line = program.line(DEADLINE).unwrap_or_else(|| panic!("{}", program.stderr()));
        let line = String::from_utf8(line).unwrap();
        let Some((verdict, local)) = line.split_once(' ') else { break };
        wanted.push((local.to_owned(), verdict.to_owned()));
    }
    wanted.sort();
    let pid = program.pid().to_string();
    let found = || {
        let report = list(&place, &["--pid", &pid]);
        let kind =
            |row: &crate::common::Row| (row.local.clone(), row.verdict.clone().unwrap_or_default());
        let mut found: Vec<_> = report.sockets.iter().map(kind).collect();
        found.sort();
        found
    };
    crate::common::wait_until("the last packets have come", || found().len() == wanted.len());
    assert_eq!(found(), wanted);
}
