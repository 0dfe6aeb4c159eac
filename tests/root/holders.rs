//! Whose sockets they are: one row for each socket and process, with every descriptor.

use crate::common::{Kind, Leaker, Want, assert_rows, list};

#[test]
fn every_leak_of_one_process() {
    let mut leaker = Leaker::listening();
    let leaks = leaker.plant(Kind::EofRead, 20);
    let report = list(&leaker, &[]);
    assert_eq!((report.schema, report.lost_events), (1, 0));
    assert_rows(&report, leaks.iter().map(|leak| Want::held(&leaker, leak)));
    assert!(report.sockets.iter().all(|row| row.comm.as_deref() == Some("leaker")));
    assert!(report.sockets.iter().all(|row| row.uid == Some(leaker.uid())));

    let [process] = &report.processes[..] else { panic!("{:#?}", report.processes) };
    assert_eq!((process.pid, process.leaked), (leaker.pid, 20));
    assert_eq!((process.comm.as_deref(), process.uid), (Some("leaker"), Some(leaker.uid())));
    assert_eq!(process.open_fds, Some(leaker.open_descriptors().len() as u64));
}

#[test]
fn leaks_of_several_processes() {
    let mut first = Leaker::listening();
    let mut others = [first.start_beside(), first.start_beside()];
    let mut wants = Vec::new();
    for leak in first.plant(Kind::EofRead, 3) {
        wants.push(Want::held(&first, &leak));
    }
    for other in &mut others {
        other.listen("v4");
        for leak in other.plant(Kind::EofUnread, 5) {
            wants.push(Want::held(other, &leak).verdict("eof-unread"));
        }
    }
    let report = list(&first, &[]);
    assert_rows(&report, wants);
    let leaked = |leaker: &Leaker| report.process(leaker.pid).unwrap().leaked;
    assert_eq!([leaked(&first), leaked(&others[0]), leaked(&others[1])], [3, 5, 5]);
}

#[test]
fn leaks_of_each_network_namespace() {
    let mut one = Leaker::listening();
    let mut other = Leaker::listening();
    assert_ne!(one.netns, other.netns);
    let (leak_of_one, leak_of_other) = (one.leak(), other.leak());
    assert_rows(&list(&one, &[]), [Want::held(&one, &leak_of_one)]);
    assert_rows(&list(&other, &[]), [Want::held(&other, &leak_of_other)]);
}

/// A pooled connection that its server has closed.
#[test]
fn a_leak_on_the_clients_side() {
    let mut leaker = Leaker::listening();
    let leaks = leaker.plant(Kind::LeftByServer, 2);
    let row = |leak| Want::held(&leaker, leak).verdict("eof-unread");
    assert_rows(&list(&leaker, &[]), leaks.iter().map(row));
}

#[test]
fn ipv6() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v6");
    let leaks = leaker.plant(Kind::EofRead, 3);
    assert!(leaks.iter().all(|leak| leak.local == format!("[::1]:{}", listener.port())));
    assert_rows(&list(&leaker, &[]), leaks.iter().map(|leak| Want::held(&leaker, leak)));
}

#[test]
fn v4_mapped_addresses_are_ipv4() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("dual");
    let leaks = leaker.plant(Kind::EofRead, 3);
    assert!(leaks.iter().all(|leak| leak.local == format!("127.0.0.1:{}", listener.port())));
    let report = list(&leaker, &[]);
    assert!(report.sockets.iter().all(|row| row.family == "ipv4"));
    assert_rows(&report, leaks.iter().map(|leak| Want::held(&leaker, leak)));
}

#[test]
fn a_child_that_inherited_the_socket_has_a_row_of_its_own() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let child = leaker.fork();
    let row = Want::held(&leaker, &leak);
    assert_rows(&list(&leaker, &[]), [row.clone(), row.pid(child)]);
}

#[test]
fn a_duplicated_descriptor_is_one_row_with_two() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let duplicate = leaker.dup(leak.fd());
    let row = Want::held(&leaker, &leak);
    let mut both = [leak.fd(), duplicate];
    both.sort_unstable();
    assert_rows(&list(&leaker, &[]), [row.clone().fds(both)]);
    leaker.close(leak.fd());
    assert_rows(&list(&leaker, &[]), [row.fds([duplicate])]);
}

#[test]
fn a_process_with_many_threads_is_one_row() {
    let mut leaker = Leaker::listening();
    let leaks = leaker.plant(Kind::EofRead, 2);
    leaker.threads(40);
    let report = list(&leaker, &[]);
    assert_rows(&report, leaks.iter().map(|leak| Want::held(&leaker, leak)));
    assert_eq!(report.processes[0].leaked, 2);
}

#[test]
fn a_thread_with_a_descriptor_table_of_its_own_still_holds() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    leaker.entrust(leak.fd());
    assert!(!leaker.open_descriptors().contains(&usize::try_from(leak.fd()).unwrap()));
    assert_rows(&list(&leaker, &[]), [Want::held(&leaker, &leak)]);
}

#[test]
fn the_cookie_is_the_one_that_the_kernel_tells() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let cookie = leaker.cookie(leak.fd());
    assert_eq!(list(&leaker, &[]).only_row().cookie, Some(cookie));
}
