//! Which sockets pass a filter, and what cannot be known of it.

use super::*;

fn shows(table: &Table, filter: Filter) -> Vec<u64> {
    places(&report_of(table, &Query { filter, ..query() }))
}

fn of_comm(comm: &str) -> Filter {
    Filter { comm: vec![comm.to_owned()], ..Filter::default() }
}

fn user(pid: Pid, comm: &str, uid: u32) -> Record {
    Record::Process(pid, Process { comm: comm.into(), uid, ..running() })
}

#[test]
fn processes_are_chosen_by_number_name_and_user() {
    let socks = [(1, 90), (2, 80), (3, 70)].map(|(at, age)| sock(at, age));
    let mut scan = vec![user(7, "a", 0), user(8, "b", 0), user(9, "b", 5)];
    scan.extend((7..).zip(&socks).map(|(pid, sock)| held(pid, 3, sock)));
    let table = table(&[], scan);
    assert_eq!(shows(&table, Filter { pid: vec![7, 9], ..Filter::default() }), [1, 3]);
    assert_eq!(shows(&table, of_comm("b")), [2, 3]);
    assert_eq!(shows(&table, Filter { uid: vec![5], ..of_comm("b") }), [3]);
    assert_eq!(shows(&table, Filter { uid: vec![5], ..of_comm("a") }), [0; 0]);
}

/// One process has to be all that was asked for.
#[test]
fn a_queued_connection_passes_if_any_holder_of_its_listener_does() {
    let waiting = sock(1, 60);
    let [listener, connection] = queued(7, 3, &waiting);
    let Record::Listener(_, twin) = listener.clone() else { unreachable!() };
    let twin = Record::Listener(Holder::at(8, 3), twin);
    let scan = [user(7, "master", 0), user(8, "worker", 5), listener, twin, connection];
    let table = table(&[], scan);
    for filter in
        [of_comm("master"), of_comm("worker"), Filter { uid: vec![5], ..of_comm("worker") }]
    {
        let report = report_of(&table, &Query { filter, ..query() });
        let pids: Vec<_> = report.sockets.iter().map(|row| row.pid).collect();
        assert_eq!(pids, [Some(7)], "the row is the same");
        assert_eq!(report.listeners[0].never_accepted, 1);
    }
    assert_eq!(shows(&table, Filter { uid: vec![5], ..of_comm("master") }), [0; 0]);
    assert_eq!(shows(&table, Filter { pid: vec![9], ..Filter::default() }), [0; 0]);
}

#[test]
fn known_leaks_are_left_out_of_rows_and_counts() {
    let unread = Sock { unread: 9, ..sock(2, 80) };
    let shut = half_shut(3, 100);
    let scan = [process(7, "a"), held(7, 3, &sock(1, 90)), held(7, 4, &unread), held(7, 5, &shut)];
    let table = table(&[], scan);
    let not = |known: &[&str]| Filter {
        not: known.iter().map(|known| known.parse().unwrap()).collect(),
        ..Filter::default()
    };
    assert_eq!(shows(&table, not(&["verdict=data-unread"])), [1]);
    assert_eq!(shows(&table, not(&["verdict=data-unread,comm=b"])), [1, 2], "all clauses count");
    assert_eq!(shows(&table, not(&["verdict=data-unread", "verdict=eof-read"])), [0; 0]);
    assert_eq!(shows(&table, not(&["port=9005"])), [0; 0]);
    let report = report_of(&table, &Query { filter: not(&["comm=a"]), ..query() });
    assert!(report.sockets.is_empty() && report.stranded.is_empty() && report.complete);
}

#[test]
fn the_least_age_is_of_what_counts() {
    let table = table(&[], [held(7, 3, &sock(1, 60)), held(7, 4, &half_shut(2, 90))]);
    let older = |seconds| {
        let filter = Filter { min_age: Some(Duration::from_secs(seconds)), ..Filter::default() };
        places(&report_of(&table, &Query { filter, shown: Shown::Stranded, ..query() }))
    };
    assert_eq!(older(60), [2, 1]);
    assert_eq!(older(61), [2]);
    assert_eq!(older(91), [0; 0]);
}

#[test]
fn leaks_of_unknown_owners_may_be_those_of_the_processes_asked_for() {
    let (flying, elsewhere) = (sock(1, 60), Sock { conn: conn_of(5), ..sock(2, 60) });
    let scan = [
        process(7, "a"),
        process(8, "b"),
        held(7, 3, &sock(3, 60)),
        held(8, 3, &sock(5, 60)),
        Record::Unheld(flying),
        Record::Unheld(elsewhere),
        // Stranded, and so nobody asks whose it is.
        Record::Unheld(half_shut(4, 100)),
    ];
    let table = table(&[], scan);
    let incomplete = |filter| report_of(&table, &Query { filter, ..query() }).incomplete;
    assert_eq!(incomplete(of_comm("a")), [Incomplete::OwnersUnknown(2)]);
    let netns = vec![5];
    assert_eq!(incomplete(Filter { netns, ..of_comm("a") }), [Incomplete::OwnersUnknown(1)]);
    assert_eq!(incomplete(Filter { port: vec![1], ..of_comm("a") }), []);
    assert_eq!(incomplete(Filter::default()), []);
    assert!(!report_of(&table, &Query { filter: of_comm("a"), ..query() }).complete);
}

/// Where the homes of the processes that were asked for are known, only leaks there may be theirs.
#[test]
fn leaks_of_unknown_owners_count_where_those_asked_for_live() {
    let table = table(&[], [process(7, "a"), Record::Unheld(sock(1, 60))]);
    let incomplete = |homes: &[u32]| {
        let filter = Filter { homes: Some(homes.iter().copied().collect()), ..of_comm("a") };
        report_of(&table, &Query { filter, ..query() }).incomplete
    };
    assert_eq!(incomplete(&[5, sock(0, 0).conn.netns]), [Incomplete::OwnersUnknown(1)]);
    assert_eq!(incomplete(&[5]), []);
    assert_eq!(incomplete(&[]), []);
}

#[test]
fn a_process_is_chosen_by_its_full_name_too() {
    let table = table(&[], [process(7, "a-long-name-tha"), held(7, 3, &sock(1, 60))]);
    let full = ["a-long-name-that-is-cut".to_owned()];
    let mut filter = of_comm(&full[0]);
    assert!(filter.asks_for_names());
    assert_eq!(shows(&table, filter.clone()), [0; 0]);
    filter.set_named([(7, &full[..])].into_iter());
    assert_eq!(shows(&table, filter.clone()), [1]);
    let mut not = Filter { not: vec![of_comm(&full[0])], ..Filter::default() };
    not.set_named([(7, &full[..])].into_iter());
    assert_eq!(shows(&table, not), [0; 0]);
    filter.set_named([(8, &full[..])].into_iter());
    assert_eq!(shows(&table, filter), [0; 0]);
}

/// Only a bound is known of its age, and keepalives renew it.
#[test]
fn what_may_be_old_enough_is_counted() {
    let table = table(&[], [held(7, 3, &sock(1, 60)), held(7, 4, &half_shut(2, 90))]);
    let report = |seconds| {
        let filter = Filter { min_age: Some(Duration::from_secs(seconds)), ..Filter::default() };
        let mut report = report_of(&table, &Query { filter, ..query() });
        report.doubt_ages();
        (report.undated, report.incomplete)
    };
    assert_eq!(report(60), (0, vec![]));
    assert_eq!(report(61), (1, vec![Incomplete::AgeUnknown(1)]));
}

fn conn_of(netns: u32) -> Conn {
    Conn { netns, ..sock(0, 0).conn }
}

#[test]
fn what_concerns_other_namespaces_is_no_reason() {
    let table = table(&[], []);
    let in_netns_5 = Incomplete::QueueTruncated { listener: end(1, 80), netns: 5, bound: 9 };
    let incomplete = vec![in_netns_5, Incomplete::WalkTruncated];
    let health =
        Health { incomplete, lost_events: 3, scanned: NOW - 2 * SECOND, ..Health::default() };
    let report = |netns| {
        let query = Query { filter: Filter { netns, ..Filter::default() }, ..query() };
        Report::build(&table, &query, None, now(), health.clone())
    };
    assert_eq!(report(vec![5]).incomplete, health.incomplete);
    assert_eq!(report(vec![6]).incomplete, [Incomplete::WalkTruncated]);
    let all = report(vec![]);
    assert_eq!((all.incomplete.len(), all.lost_events), (2, 3));
    assert_eq!((all.complete, all.scanned_ago), (false, Some(2 * SECOND)));
}
