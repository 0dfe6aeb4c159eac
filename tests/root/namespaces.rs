//! Network namespaces with a hash table of their own, whoever keeps them alive, and loads that would
//! lead a walk through these tables astray.

use std::fs::File;
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::common::tool::{list_in, sockleak};
use crate::common::{Kind, Leaker, Want, assert_rows, list, need_root, not_possible, slow_machine};
use crate::given_up::Program;
use crate::refusals::NOBODY;

const TABLE_SIZE: &str = "ipv4/tcp_child_ehash_entries";

/// The accepted side of a connection whose client has gone, in a message that nobody has read.
fn in_flight() -> UnixStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    drop(client);
    let (sender, receiver) = UnixStream::pair().unwrap();
    let rights = [accepted.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    let data = [IoSlice::new(b"x")];
    sendmsg::<()>(sender.as_raw_fd(), &data, &message, MsgFlags::empty(), None).unwrap();
    receiver
}

fn assert_found(netns: u64) {
    for _ in 0..runs(20) {
        let report = list_in(netns, &[]);
        assert!(report.complete, "{report:?}");
        let row = report.only_row();
        assert_eq!((row.state.as_str(), row.ownership.as_str()), ("CLOSE_WAIT", "unknown"));
    }
}

/// How often to look: an emulated machine takes a second for each.
fn runs(many: usize) -> usize {
    if slow_machine() { 3 } else { many }
}

#[test]
fn kept_by_a_descriptor_or_by_a_socket_alone() {
    let parent = Leaker::start();
    let test = "namespaces::kept_by_a_descriptor_or_by_a_socket_alone";
    let Some(inhabitant) = parent.start_apart(test) else {
        return;
    };
    let netns = inhabitant.netns;
    let descriptor = File::open(format!("/proc/{}/ns/net", inhabitant.pid)).unwrap();
    let message = inhabitant.inside(in_flight);
    assert_found(netns);
    drop(inhabitant);
    assert_found(netns);
    drop(descriptor);
    assert_found(netns);
    drop(message);
}

/// Makes network namespaces that live for a moment only, until the work is done.
fn beside_short_lived_namespaces<T>(of: &Leaker, work: impl FnOnce() -> T) -> T {
    const LIFE: Duration = Duration::from_millis(50);
    let done = AtomicBool::new(false);
    let parent = File::open(format!("/proc/{}/ns/net", of.pid)).unwrap();
    let make = || {
        while !done.load(Ordering::Relaxed) {
            setns(&parent, CloneFlags::CLONE_NEWNET).unwrap();
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            thread::park_timeout(LIFE);
        }
    };
    thread::scope(|scope| {
        let makers = [scope.spawn(make), scope.spawn(make)];
        let result = work();
        done.store(true, Ordering::Relaxed);
        for maker in makers {
            maker.join().unwrap();
        }
        result
    })
}

#[test]
fn namespaces_that_come_and_go_are_no_reason() {
    need_root();
    let test = "namespaces::namespaces_that_come_and_go_are_no_reason";
    for size in ["0", "4096"] {
        let parent = Leaker::start();
        if let Err(error) = parent.sysctl(TABLE_SIZE, size) {
            return not_possible(test, format!("one hash table serves all: {error}"));
        }
        beside_short_lived_namespaces(&parent, || {
            for _ in 0..runs(30) {
                let ran = sockleak(&["list", "--json", "--netns", &parent.netns.to_string()]);
                assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{size}: {ran:?}");
            }
        });
    }
}

/// Any user can make such a table, in a user namespace of his own.
#[test]
fn one_chain_for_all_connections() {
    let parent = Leaker::start();
    let test = "namespaces::one_chain_for_all_connections";
    if let Err(error) = parent.sysctl(TABLE_SIZE, "1") {
        return not_possible(test, format!("one hash table serves all: {error}"));
    }
    let mut leaker = parent.inside(Leaker::start);
    leaker.listen("v4");
    let leaks = leaker.plant(Kind::EofRead, 700);
    let (away, rest) = leaks.split_at(3);
    away.iter().for_each(|leak| leaker.send_away(leak.fd()));
    let unknown = away.iter().map(|leak| Want::held(&leaker, leak).ownerless("unknown"));
    let held = rest.iter().map(|leak| Want::held(&leaker, leak));
    let report = list(&leaker, &[]);
    assert!(report.complete, "{:?}", report.incomplete);
    assert_rows(&report, held.chain(unknown));
}

/// The table of one chain, made by a user without any privilege.
#[test]
fn an_unprivileged_users_table_of_one_chain() {
    let test = "namespaces::an_unprivileged_users_table_of_one_chain";
    let path = Path::new("/proc/sys/net").join(TABLE_SIZE);
    if !path.exists() {
        return not_possible(test, "one hash table serves all");
    }
    let workload = Program::plain();
    let set_size = format!("echo 1 >{} && exec \"$0\" \"$@\"", path.display());
    let mut starter = Command::new("unshare");
    starter.args(["--user", "--map-root-user", "--net", "sh", "-c", &set_size]);
    starter.uid(NOBODY).gid(NOBODY);
    let mut leaker = Leaker::start_copy_by(&workload.0, &mut starter);
    leaker.listen("v4");
    let leaks = leaker.plant(Kind::EofRead, 300);
    for _ in 0..runs(20) {
        let report = list(&leaker, &[]);
        assert!(report.complete, "{:?}", report.incomplete);
        assert_rows(&report, leaks.iter().map(|leak| Want::held(&leaker, leak)));
    }
}

/// In a small table each connection that ends, or begins, takes along whoever walks by.
#[test]
fn churn_leads_no_walk_astray() {
    let parent = Leaker::start();
    let test = "namespaces::churn_leads_no_walk_astray";
    if let Err(error) = parent.sysctl(TABLE_SIZE, "16") {
        return not_possible(test, format!("one hash table serves all: {error}"));
    }
    let mut leaker = parent.inside(Leaker::start);
    leaker.listen("v4");
    leaker.plant(Kind::Established, 300);
    let netns = leaker.netns;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                leaker.churn(200, 100);
            }
        });
        for _ in 0..runs(30) {
            let ran = sockleak(&["list", "--json", "--netns", &netns.to_string()]);
            assert!(ran.report().complete, "{ran:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}
