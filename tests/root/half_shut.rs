//! The other half of a proxy's leaked pair: sockets that were shut down and not closed, and relays.

use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary, list_text};
use crate::common::{Conn, Kind, Leaker, Report, Watch, list, wait_until};

const IDLE: [&str; 2] = ["--idle", "1s"];

/// A process that shuts down its side of a connection and waits for a peer that never closes: its end, and
/// the peer's in another process.
fn shut_down(leaker: &mut Leaker) -> (Leaker, Conn, Conn) {
    let listener = leaker.listen("v4");
    let mut client = leaker.start_beside();
    let shut = client.connect(&listener.local);
    let kept = leaker.accept(1).remove(0);
    // Their probes and answers are packets, too, and must not make it look busy.
    client.keepalive(shut.fd());
    leaker.keepalive(kept.fd());
    client.shutdown(shut.fd());
    leaker.await_eof(kept.fd());
    (client, shut, kept)
}

#[test]
fn shut_down_and_not_closed() {
    let mut leaker = Leaker::start();
    let (client, shut, kept) = shut_down(&mut leaker);
    let pid = client.pid.to_string();
    let of_client = [&IDLE[..], &["--pid", &pid]].concat();
    wait_until("nothing came for a second", || {
        list(&leaker, &of_client).stranded("half-shut") == 1
    });
    let quiet = list(&leaker, &of_client);
    assert!(quiet.complete && quiet.sockets.is_empty(), "{quiet:#?}");

    let report = list(&leaker, &[&of_client[..], &["--stranded"]].concat());
    let row = report.only_row();
    assert_eq!((&row.local, &row.remote), (&shut.local, &shut.remote));
    assert_eq!((row.kind(), row.state.as_str()), (("stranded", "half-shut"), "FIN_WAIT2"));
    assert_eq!((row.pid, &row.fds), (Some(client.pid), &vec![shut.fd()]));

    // The peer's end is the leak.
    let report = list(&leaker, &IDLE);
    assert_eq!(report.only_row().local, kept.local);
    assert_eq!(report.kind(&kept), Some(("leaked", "eof-unread")));
}

#[test]
fn the_footer_of_list_counts_it() {
    let mut leaker = Leaker::start();
    let (client, _, _) = shut_down(&mut leaker);
    let pid = client.pid.to_string();
    let of_client = [&IDLE[..], &["--pid", &pid]].concat();
    wait_until("nothing came for a second", || {
        list(&leaker, &of_client).stranded("half-shut") == 1
    });
    let ran = list_text(&leaker, &of_client);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let wanted = format!("also stranded: 1 half-shut in leaker[{pid}]: see --stranded");
    assert!(ran.text().lines().any(|line| line == wanted), "{wanted} in {}", ran.text());
}

/// On stderr, and once: not with every interval.
#[test]
fn the_footer_of_watch_counts_it_when_it_changes() {
    let mut leaker = Leaker::start();
    let (client, _, _) = shut_down(&mut leaker);
    let (netns, pid) = (leaker.netns.to_string(), client.pid.to_string());
    let options = ["--netns", &netns, "--pid", &pid, "--interval", INTERVAL, "--idle", "1s"];
    let mut command = Command::new(binary());
    let mut watch = Running::start(command.arg("watch").args(options).stdin(Stdio::null()));
    let footers = |watch: &Running| watch.stderr().matches("also stranded: 1 half-shut").count();
    wait_until("a footer", || footers(&watch) == 1);
    // A twin tells when some intervals are over.
    let mut twin = Watch::start(&leaker, &["--idle", "1s"]);
    for _ in 0..5 {
        twin.next();
    }
    assert_eq!(footers(&watch), 1, "{}", watch.stderr());
    let shown = watch.line_at_once().map(|line| String::from_utf8(line).unwrap());
    assert_eq!(shown, None, "nothing is leaked");
}

/// A relay in the middle, with the two processes that it connects.
struct Relay {
    relay: Leaker,
    client: Leaker,
    backend: Leaker,
    from_client: Conn,
    inward: Conn,
    outward: Conn,
    at_backend: Conn,
}

impl Relay {
    fn start() -> Self {
        let mut relay = Leaker::start();
        let front = relay.listen("v4");
        let (mut client, mut backend) = (relay.start_beside(), relay.start_beside());
        let back = backend.listen("v4");
        let from_client = client.connect(&front.local);
        let inward = relay.accept(1).remove(0);
        let outward = relay.connect(&back.local);
        let at_backend = backend.accept(1).remove(0);
        relay.relay(inward.fd(), outward.fd());
        Self { relay, client, backend, from_client, inward, outward, at_backend }
    }

    /// The client says that it has asked; the relay passes it on; the backend never closes.
    fn half_close(&mut self) {
        self.client.shutdown(self.from_client.fd());
        self.backend.await_eof(self.at_backend.fd());
    }
}

#[test]
fn a_relay_under_watch() {
    let mut all = Relay::start();
    let mut stranded = Watch::start(&all.relay, &["--stranded"]);
    let mut leaked = Watch::start(&all.relay, &[]);
    all.half_close();
    let relayed = |report: &Report| report.kind(&all.inward) == Some(("stranded", "relayed"));
    let report = stranded.wait_for("a relayed row", |report| report.complete && relayed(report));
    let row = report.row(&all.inward);
    let other = row.relay.as_ref().expect("the other socket is named");
    assert_eq!((&other.local, &other.remote), (&all.outward.local, &all.outward.remote));
    assert_eq!(row.pid, Some(all.relay.pid));
    // The backend's own socket is the leak, and the only one.
    let the_leak = |report: &Report| {
        report.sockets.len() == 1 && report.kind(&all.at_backend) == Some(("leaked", "eof-unread"))
    };
    let report = leaked.wait_for("the backend's leak alone", the_leak);
    assert_eq!(report.only_row().pid, Some(all.backend.pid));
}

/// `list` saw neither step, and says what it can.
#[test]
fn a_relay_before_the_start() {
    let mut all = Relay::start();
    all.half_close();
    // The client's socket and the relay's.
    wait_until("nothing came for a second", || list(&all.relay, &IDLE).stranded("half-shut") == 2);
    let pid = all.relay.pid.to_string();
    let ran = list_text(&all.relay, &[&IDLE[..], &["--pid", &pid]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.text().contains("the holder also has 1 half-shut socket"), "{}", ran.text());
}

/// Clients and servers in one process, as in a test suite: each client shuts down its side soon after the end of
/// file of another's server. Nothing was passed on, for the other ends are this process's own.
#[test]
fn both_ends_in_one_process_are_no_relay() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let conns = leaker.plant(Kind::HalfClosed, 3);
    watch.wait_for("three leaks", |report| {
        conns.iter().all(|conn| report.kind(conn) == Some(("leaked", "eof-unread")))
    });
}

/// A pair that is in use on both sides is neither.
#[test]
fn a_connection_in_use_is_not_stranded() {
    let mut leaker = Leaker::listening();
    leaker.plant_one(Kind::Established);
    let report = list(&leaker, &["--stranded"]);
    assert!(report.sockets.is_empty() && report.stranded.values().all(|count| *count == 0));
}
