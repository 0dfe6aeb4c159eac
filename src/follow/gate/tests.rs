use super::*;
use crate::report::row::Direction;
use crate::sock::conn::{Endpoint, SockPtr};
use crate::sock::leak::Verdict;
use crate::sock::state::State;

const EPHEMERAL: Ephemeral = 32_768..=60_999;

fn leak(sock: u64, port: u16) -> Leak {
    let end = |port| Endpoint::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port);
    Leak {
        ended: Ended::AtExit,
        before_exit: None,
        by_exec: false,
        dead_for: 300_000_000,
        pid: 42,
        comm: "python3".into(),
        args: vec!["/usr/bin/pytest".into(), "tests".into()],
        uid: 1000,
        fds: vec![5],
        sock: SockPtr(sock),
        cookie: None,
        netns: 1,
        family: "ipv4",
        direction: Some(Direction::Accepted),
        local: end(port),
        remote: end(40_000),
        state: State::CloseWait,
        class: Class::Leaked,
        verdict: Some(Verdict::EofRead),
        unread_bytes: 0,
    }
}

fn gate() -> Gate {
    Gate { leak_exit_code: 1, ..Gate::default() }
}

#[test]
fn the_commands_own_code_comes_first() {
    let gate = Gate { leak_exit_code: 9, max_leaks: 2, ..gate() };
    assert_eq!(gate.code(0, 2, true), 0);
    assert_eq!(gate.code(0, 3, true), 9);
    assert_eq!(gate.code(0, 3, false), 4);
    assert_eq!(gate.code(0, 0, false), 4);
    assert_eq!(gate.code(7, 3, false), 7);
    assert_eq!(gate.code(137, 3, true), 137);
}

#[test]
fn late_and_stranded_ones_count_where_asked_for() {
    let late = Leak { ended: Ended::Late, ..leak(1, 80) };
    let stranded = Leak { class: Class::Stranded, ..leak(2, 80) };
    let leaks = vec![late, stranded, leak(3, 80)];
    let counts = |gate: Gate| {
        let sorted = gate.sort(leaks.clone(), &EPHEMERAL);
        (sorted.leaked.len(), sorted.late.len(), sorted.known)
    };
    assert_eq!(counts(gate()), (1, 1, 0));
    assert_eq!(counts(Gate { count_late: true, ..gate() }), (2, 0, 0));
    assert_eq!(counts(Gate { stranded: true, ..gate() }), (2, 1, 0));
}

#[test]
fn a_socket_of_two_processes_is_one_leak() {
    let other = Leak { pid: 43, ..leak(1, 80) };
    assert_eq!(distinct(&[leak(1, 80), other, leak(2, 80)]), 2);
}

#[test]
fn every_key_of_a_filter_names_leaks() {
    for (filter, is_named) in [
        ("port=80", true),
        ("port=81", false),
        ("comm=python3,verdict=eof-read", true),
        ("comm=pytest", true),
        ("cmd=pytest*tests", true),
        ("cmd=tests*pytest", false),
        ("comm=python3,verdict=reset", false),
        ("uid=1000,pid=42,state=close-wait,netns=1", true),
        ("uid=0", false),
        ("pid=43", false),
        ("state=close", false),
    ] {
        let gate = Gate { not: vec![filter.parse().unwrap()], ..gate() };
        let sorted = gate.sort(vec![leak(1, 80)], &EPHEMERAL);
        assert_eq!(
            (sorted.known, sorted.leaked.len()),
            (is_named.into(), (!is_named).into()),
            "{filter}"
        );
    }
}

#[test]
fn a_baseline_knows_as_many_as_it_counts() {
    let known = [leak(1, 80), leak(2, 80), leak(3, 443)];
    let baseline = Baseline::of(known.iter(), &EPHEMERAL);
    let baseline = Baseline::parse(&baseline.text().unwrap()).unwrap();
    let gate = Gate { baseline: Some(baseline), ..gate() };
    let sort = |ports: &[u16]| {
        let leaks = ports.iter().zip(1..).map(|(&port, sock)| leak(sock, port)).collect();
        let sorted = gate.sort(leaks, &EPHEMERAL);
        let gone: Vec<_> = sorted.gone.iter().map(|entry| entry.kind.port).collect();
        (sorted.leaked.len(), sorted.known, gone)
    };
    assert_eq!(sort(&[80, 80, 443]), (0, 3, vec![]));
    assert_eq!(sort(&[80, 80, 80]), (1, 2, vec![Some(443)]));
    assert_eq!(sort(&[8080]), (1, 0, vec![Some(80), Some(443)]));
}

#[test]
fn a_port_that_the_kernel_has_chosen_is_any_such_port() {
    let baseline = Baseline::of([leak(1, 40_001)].iter(), &EPHEMERAL);
    let mut matcher = baseline.matcher(&EPHEMERAL);
    assert!(matcher.takes(&leak(7, 50_000)));
    assert!(!matcher.takes(&leak(8, 50_000)));
    let mut matcher = baseline.matcher(&EPHEMERAL);
    assert!(!matcher.takes(&leak(7, 80)));
    let connected = Leak { direction: Some(Direction::Connected), ..leak(1, 80) };
    let baseline = Baseline::of([connected].iter(), &EPHEMERAL);
    assert_eq!(baseline.known[0].kind.remote.as_deref(), Some("127.0.0.1"));
}

#[test]
fn entries_of_the_same_kind_are_one() {
    let Baseline { known, .. } = Baseline::of([leak(1, 80)].iter(), &EPHEMERAL);
    let twice = serde_json::json!({"schema": 1, "known": [known[0], known[0]]}).to_string();
    let merged = Baseline::parse(&twice).unwrap();
    assert_eq!((merged.known.len(), merged.known[0].count), (1, 2));
}

#[test]
fn a_file_has_an_end() {
    let error = Baseline::read(std::io::repeat(b' ')).unwrap_err().to_string();
    assert_eq!(error, "more than 16 MiB");
}

#[test]
fn a_file_that_is_no_baseline_is_refused() {
    for bad in ["", "[]", r#"{"schema":2,"known":[]}"#, r#"{"known":[]}"#, r#"{"schema":1}"#] {
        assert!(Baseline::parse(bad).is_err(), "{bad}");
    }
}
