//! Counts: of distinct sockets, and of descriptors.

use super::*;
use crate::report::group::{Group, GroupBy, Grouped};
use crate::sock::event::Descriptors as Counted;

/// A connection in the queue of a listener that these processes have open, each at descriptor 3.
fn queue(pids: &[Pid], socks: &[Sock]) -> Vec<Record> {
    let mut records = Vec::new();
    for sock in socks {
        for &pid in pids {
            records.extend(queued(pid, 3, sock));
        }
    }
    // Listeners come first.
    records.sort_by_key(|record| matches!(record, Record::Queued(..)));
    records
}

fn began(pid: Pid, comm: &str, start_time: u64) -> Record {
    Record::Process(pid, Process { comm: comm.into(), start_time, ..running() })
}

#[test]
fn a_queued_connection_is_one_row_whoever_holds_its_listener() {
    let waiting = [sock(1, 60), sock(2, 50)];
    let mut scan = vec![began(7, "worker", 900), began(8, "master", 100), began(9, "worker", 901)];
    scan.extend(queue(&[7, 8, 9], &waiting));
    let table = table(&[], scan);
    let report = report(&table);
    let rows: Vec<_> =
        report.sockets.iter().map(|row| (row.pid, row.holders.fds().collect::<Vec<_>>())).collect();
    assert_eq!(rows, [(Some(8), vec![3]), (Some(8), vec![3])], "the oldest");

    let [listener] = &report.listeners[..] else { panic!("{:?}", report.listeners) };
    assert_eq!((listener.pid, &*listener.fds, listener.never_accepted), (8, &[3][..], 2));
    let holders = listener.holders.iter().map(|holder| (holder.pid, holder.comm, &*holder.fds));
    let expected = [(7, Some("worker")), (8, Some("master")), (9, Some("worker"))];
    assert_eq!(holders.collect::<Vec<_>>(), expected.map(|(pid, comm)| (pid, comm, &[3][..])));
}

#[test]
fn what_waits_in_a_queue_takes_no_descriptor() {
    let mut scan = vec![process(7, "server"), held(7, 5, &sock(3, 40))];
    scan.extend(queue(&[7], &[sock(1, 60), sock(2, 50)]));
    let table = table(&[], scan);
    let report = report(&table);
    let process = &report.processes[0];
    assert_eq!((process.rows, process.leaked), (3, 1));
    assert_eq!(process.descriptors.as_ref().map(|of| of.leaked), Some(1));
}

#[test]
fn what_has_waited_for_too_long_is_counted_apart() {
    let alive = in_state(State::Established, HELD - SockFlags::PEER_CLOSED, 2, 70);
    let mut scan = vec![process(7, "server")];
    scan.extend(queue(&[7], &[sock(1, 60)]));
    let flags = SockFlags::CONNECTED | SockFlags::ACCEPTED;
    scan.push(Record::Queued(SockPtr(9), Sock { flags, ..alive }));
    let table = table(&[], scan);
    let report = report(&table);
    assert_eq!(places(&report), [1]);
    let listener = &report.listeners[0];
    assert_eq!((listener.never_accepted, listener.unaccepted), (1, 1));
    assert_eq!(report.stranded, BTreeMap::from([(Verdict::Unaccepted, 1)]));
}

/// The example of the design: 10 leaked, 5 half-shut, 8 other sockets, 6 files.
#[test]
fn the_census_makes_up_all_descriptors() {
    let mut scan: Vec<_> = (0..9).map(|at| held(7, 3, &sock(at, 60))).collect();
    let dead = in_state(State::Close, HELD, 9, 60);
    let reserved = Sock { flags: HELD | SockFlags::BOUND, ..unconnected(10) };
    scan.extend([held(7, 3, &dead), held(7, 3, &reserved)]);
    scan.extend((11..16).map(|at| held(7, 3, &half_shut(at, 100))));
    scan.push(held(7, 3, &unconnected(16)));
    let descriptors = Counted {
        connected: 9 + 5 + 4,
        listening: 2,
        closed: 3,
        other_sockets: 8,
        idle: 3,
        idle_unguarded: 1,
    };
    scan.push(Record::Process(7, Process { open_fds: 37, descriptors, ..running() }));
    let table = table(&[], scan);
    let report = report(&table);
    let of = report.processes[0].descriptors.clone().unwrap();
    let expected = Descriptors {
        leaked: 10,
        stranded: 6,
        connected: 4,
        listening: 2,
        unconnected: 1,
        other_sockets: 8,
        files: 6,
        idle: 3,
        idle_without_keepalive: 1,
        stranded_as: vec![(Verdict::HalfShut, 5), (Verdict::Unconnected, 1)],
    };
    assert_eq!(of, expected);
    let all = of.leaked + of.stranded + of.connected + of.listening + of.unconnected;
    assert_eq!(all + of.other_sockets + of.files, 37);
}

/// Two descriptors for one socket are two, and filters take no descriptor away.
#[test]
fn the_census_counts_descriptors_and_the_rest_counts_sockets() {
    let (leaked, known) = (sock(1, 60), Sock { unread: 9, ..sock(2, 60) });
    let counted = Counted { connected: 3, ..Counted::default() };
    let scan = [
        Record::Process(7, Process { descriptors: counted, ..running() }),
        held(7, 3, &leaked),
        held(7, 4, &leaked),
        held(7, 5, &known),
        Record::Held(Holder { pid: 7, fd: 8, slot: Some(0) }, leaked.clone()),
    ];
    let table = table(&[], scan);
    let filter = Filter { not: vec!["verdict=data-unread".parse().unwrap()], ..Filter::default() };
    let report = report_of(&table, &Query { filter, ..query() });
    let process = &report.processes[0];
    let of = process.descriptors.clone().unwrap();
    assert_eq!((process.leaked, of.leaked, of.connected, of.files), (1, 3, 0, 6));
}

#[test]
fn what_is_stranded_is_counted_once_whoever_holds_it_and_shown_if_asked_for() {
    let (shared, other) = (half_shut(1, 100), unconnected(2));
    let scan = [
        process(7, "java"),
        process(8, "sh"),
        held(7, 3, &shared),
        held(8, 3, &shared),
        held(7, 4, &other),
    ];
    let table = table(&[], scan);
    let stranded = BTreeMap::from([(Verdict::HalfShut, 1), (Verdict::Unconnected, 1)]);
    let leaked = report(&table);
    assert!(leaked.sockets.is_empty() && leaked.processes.is_empty());
    assert_eq!(leaked.stranded, stranded);
    assert_eq!(leaked.stranded_in, [(7, Some("java")), (8, Some("sh"))]);

    let all = report_of(&table, &Query { shown: Shown::Stranded, ..query() });
    assert_eq!(all.sockets.len(), 3);
    assert_eq!(all.stranded, stranded);
    let counts = all.processes.iter().map(|row| (row.pid, row.rows, row.leaked, row.stranded));
    assert_eq!(counts.collect::<Vec<_>>(), [(7, 2, 0, 2), (8, 1, 0, 1)]);

    let filter = Filter { verdict: vec![Verdict::HalfShut], ..Filter::default() };
    let some = report_of(&table, &Query { filter, ..query() });
    assert_eq!(some.stranded, BTreeMap::from([(Verdict::HalfShut, 1)]));
}

#[test]
fn states_that_were_asked_for_decide_and_nothing_else() {
    let healthy = in_state(State::Established, HELD - SockFlags::PEER_CLOSED, 1, 60);
    let scan = [process(7, "sh"), held(7, 3, &healthy), held(7, 4, &sock(2, 60))];
    let table = table(&[], scan);
    let shown = Shown::States(State::Established.into());
    let report = report_of(&table, &Query { shown, ..query() });
    assert_eq!(places(&report), [1]);
    let process = &report.processes[0];
    assert_eq!((process.rows, process.leaked, report.shown.word()), (1, 1, "listed"));
    assert_eq!(Shown::Leaked.word(), "leaked");
    assert_eq!(Shown::Stranded.word(), "leaked or stranded");
}

fn groups(table: &Table, by: GroupBy) -> Vec<(String, usize)> {
    let query = Query { shown: Shown::Stranded, ..query() };
    let groups = Grouped::build(&report_of(table, &query), by).groups;
    groups.into_iter().map(|Group { key, count, .. }| (key, count)).collect()
}

#[test]
fn a_group_counts_distinct_sockets() {
    let (shared, own, shut) = (sock(1, 60), sock(2, 50), half_shut(3, 100));
    let scan = [
        process(7, "a"),
        process(8, "b"),
        held(7, 3, &shared),
        held(8, 3, &shared),
        held(7, 4, &own),
        held(7, 5, &shut),
    ];
    let table = table(&[], scan);
    let expect = |by, wanted: &[(&str, usize)]| {
        let wanted: Vec<_> = wanted.iter().map(|&(key, count)| (key.to_owned(), count)).collect();
        assert_eq!(groups(&table, by), wanted, "{by:?}");
    };
    expect(GroupBy::Process, &[("a[7]", 3), ("b[8]", 1)]);
    expect(GroupBy::Verdict, &[("eof-read", 2), ("half-shut", 1)]);
    expect(GroupBy::State, &[("CLOSE_WAIT", 2), ("FIN_WAIT2", 1)]);
    expect(GroupBy::Listener, &[("127.0.0.1:9005", 3)]);
    expect(GroupBy::Remote, &[("127.0.0.1", 3)]);
}

#[test]
fn a_group_knows_its_oldest_and_its_verdicts() {
    let scan = [held(7, 3, &sock(1, 60)), held(7, 5, &half_shut(2, 100))];
    let table = table(&[], scan);
    let query = Query { shown: Shown::Stranded, ..query() };
    let grouped = Grouped::build(&report_of(&table, &query), GroupBy::Process);
    let group = &grouped.groups[0];
    assert_eq!((group.key.as_str(), group.oldest_age), ("[7]", 100 * SECOND));
    assert_eq!(group.verdicts, BTreeMap::from([("eof-read", 1), ("half-shut", 1)]));
    assert_eq!(grouped.stranded, BTreeMap::from([(Verdict::HalfShut, 1)]));
}

#[test]
fn a_forecast_is_of_descriptors() {
    let mut trend = Trend::default();
    let tables: Vec<_> = (1..=20_u64)
        .map(|leaks| {
            let held = (0..leaks).map(|at| held(7, 3, &sock(at, 60)));
            let waiting = queue(&[7], &[sock(900, 60)]);
            table(&[], [process(7, "sh")].into_iter().chain(held).chain(waiting))
        })
        .collect();
    let mut last = None;
    for (second, table) in (0..).zip(&tables) {
        let mut report = report(table);
        report.add_trend(&mut trend, second * SECOND);
        let process = &report.processes[0];
        last = process.leaked_per_minute.zip(process.exhausted_in_seconds);
    }
    // One each second, and 1024 - 9 descriptors are free.
    assert_eq!(last, Some((60.0, 1015.0)));
}
