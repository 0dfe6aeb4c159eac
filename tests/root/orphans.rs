//! Sockets that no descriptor of a process refers to, or only in a roundabout way.

use std::io::ErrorKind;

use crate::common::tool::sockleak;
use crate::common::{
    Kind, Leaker, Want, Watch, assert_rows, has_rows, list, not_possible, wait_until,
};

#[test]
fn in_flight_over_a_unix_socket() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    let want = Want::held(&leaker, &leak).ownerless("unknown");
    assert_rows(&list(&leaker, &[]), [want]);
}

/// Connections may be in a hash table that no other network namespace uses.
#[test]
fn in_flight_in_a_hash_table_apart() {
    let parent = Leaker::listening();
    let test = "orphans::in_flight_in_a_hash_table_apart";
    let Some(mut leaker) = parent.start_apart(test) else {
        return;
    };
    leaker.listen("v4");
    let leaks = leaker.plant(Kind::EofRead, 600);
    let (away, rest) = leaks.split_at(1);
    leaker.send_away(away[0].fd());
    let unknown = Want::held(&leaker, &away[0]).ownerless("unknown");
    let held = rest.iter().map(|leak| Want::held(&leaker, leak));
    assert_rows(&list(&leaker, &[]), held.chain([unknown]));
}

/// From inside, the others have to be found.
#[test]
fn in_flight_seen_from_a_hash_table_apart() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.send_away(leak.fd());
    let Some(apart) = leaker.start_apart("orphans::in_flight_seen_from_a_hash_table_apart") else {
        return;
    };
    let netns = leaker.netns.to_string();
    let ran = apart.inside(|| sockleak(&["list", "--json", "--netns", &netns]));
    assert_rows(&ran.report(), [Want::held(&leaker, &leak).ownerless("unknown")]);
}

#[test]
fn sent_away_under_watch() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let leak = leaker.leak();
    let held = Want::held(&leaker, &leak);
    watch.wait_for("a held row", |report| has_rows(report, std::slice::from_ref(&held)));
    leaker.send_away(leak.fd());
    let rows = [held.ownerless("unknown")];
    watch.wait_for("a row without an owner", |report| has_rows(report, &rows));
}

/// The program has closed, the kernel cannot finish: the peer's answers are lost.
#[test]
fn after_close() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.loopback("down");
    leaker.close(leak.fd());
    assert_rows(&list(&leaker, &[]), []);
    let want = Want::held(&leaker, &leak).state("LAST_ACK").verdict(None).ownerless("kernel");
    assert_rows(&list(&leaker, &["--state", "last-ack"]), [want]);
}

/// The peer's end, once closed, waits in the kernel for the leaker's end of file. The kernel keeps it as
/// a time-wait socket that is in FIN_WAIT2, and `ss` shows it so.
#[test]
fn the_peer_of_a_leak_belongs_to_the_kernel() {
    let mut leaker = Leaker::listening();
    let conn = leaker.plant_one(Kind::HalfClosed);
    leaker.close(conn.peer());
    let want = Want::held(&leaker, &conn.other_end()).state("FIN_WAIT2").verdict(None);
    assert_rows(&list(&leaker, &["--state", "fin-wait-2"]), [want.ownerless("kernel")]);
    assert_rows(&list(&leaker, &["--state", "time-wait"]), []);
}

/// A listener with MPTCP for one side at least, if this kernel has it. (On 6.1 an MPTCP socket
/// refuses some of the options that the workload sets.)
fn listen_with_mptcp(leaker: &mut Leaker, option: &str) -> bool {
    let why = match leaker.sysctl("mptcp/enabled", "1") {
        Err(error) if error.kind() == ErrorKind::NotFound => "this kernel has no MPTCP".to_owned(),
        Err(error) => panic!("mptcp/enabled: {error}"),
        Ok(()) => {
            leaker.listen(&format!("v4 4096 {option}"));
            let Some(error) = leaker.refusal("plant established 1") else { return true };
            assert!(error.contains("EOPNOTSUPP"), "{error}");
            error
        }
    };
    not_possible("orphans::mptcp", why);
    false
}

/// An MPTCP client that fell back to TCP, left by its server: the socket in CLOSE_WAIT has no descriptor,
/// the MPTCP socket above it has. What the program has read, only that one knows.
#[test]
fn mptcp_fallen_back() {
    let mut leaker = Leaker::start();
    if !listen_with_mptcp(&mut leaker, "--mptcp-clients") {
        return;
    }
    let leaks = leaker.plant(Kind::LeftByServer, 2);
    let wants = leaks.iter().map(|leak| Want::held(&leaker, leak).verdict(None));
    assert_rows(&list(&leaker, &[]), wants);
    leaker.close_all();
    assert_rows(&list(&leaker, &[]), []);
}

/// A leaked MPTCP connection. Its subflow stays ESTABLISHED when the peer closes; the MPTCP socket itself
/// is in CLOSE_WAIT, as `ss -M` shows.
#[test]
fn mptcp_connection() {
    let mut leaker = Leaker::start();
    if !listen_with_mptcp(&mut leaker, "--mptcp") {
        return;
    }
    let leaks = leaker.plant(Kind::EofRead, 2);
    let wants = leaks.iter().map(|leak| Want::held(&leaker, leak).verdict(None));
    assert_rows(&list(&leaker, &[]), wants);
}

/// A reset MPTCP connection. MPTCP dissolves its subflow, which is no failed connect().
#[test]
fn mptcp_reset() {
    let mut leaker = Leaker::start();
    if !listen_with_mptcp(&mut leaker, "--mptcp") {
        return;
    }
    let conns = leaker.plant(Kind::Established, 2);
    assert_rows(&list(&leaker, &["--stranded"]), []);
    for conn in &conns {
        leaker.abort(conn.peer());
    }
    wait_until("both are over", || list(&leaker, &[]).sockets.len() == 2);
    let want = |conn| Want::held(&leaker, conn).state("CLOSE").verdict(None);
    assert_rows(&list(&leaker, &["--stranded"]), conns.iter().map(want));
}

/// Clients that wait at a listener of MPTCP's, as Go opens them: those that speak TCP, too.
#[test]
fn mptcp_queue() {
    let mut leaker = Leaker::start();
    if !listen_with_mptcp(&mut leaker, "--mptcp") {
        return;
    }
    leaker.close_all();
    let listener = leaker.listen("v4 4096 --mptcp");
    let mut beside = leaker.start_beside();
    let waiting = [leaker.dial(), beside.connect(&listener.local)].map(|end| end.other_end());
    let options = ["--stranded", "--idle", "1s"];
    wait_until("both are idle", || list(&leaker, &options).sockets.len() == 2);
    let report = list(&leaker, &options);
    for conn in &waiting {
        let row = report.row(conn);
        assert_eq!(row.kind(), ("stranded", "unaccepted"), "{row:#?}");
        assert_eq!((row.pid, row.ownership.as_str()), (Some(leaker.pid), "listener"), "{row:#?}");
    }
}
