//! Parts that only the text has: columns, words behind a verdict, and lines below the rows.

use super::*;
use crate::report::group::GroupBy;
use crate::report::tests::{HELD, in_state, query, report_of, rows::relay, unconnected};
use crate::report::{Query, Shown};
use crate::sock::event::Holder;
use crate::sock::state::StateSet;

const STRANDED: Shown = Shown::Stranded;

fn lines(table: &Table, shown: Shown) -> Vec<String> {
    let style = Style { headers: true, ..Style::default() };
    let query = Query { shown, ..query() };
    let text = written(|out| text::render(&report_of(table, &query), style, out));
    text.lines().map(|line| squeezed(line)[0].join(" ")).collect()
}

#[test]
fn each_row_shows_the_length_of_time_that_counts() {
    let table = table(&[], [held(7, 3, &sock(1, 60)), held(7, 4, &half_shut(2, 90))]);
    let both = lines(&table, STRANDED);
    assert!(both[0].starts_with("AGE IDLE PID"), "{both:?}");
    assert!(both[1].starts_with("- 1m30s 7 "), "{both:?}");
    assert!(both[2].starts_with(">=1m00s - 7 "), "{both:?}");
    assert!(lines(&table, Shown::Leaked)[0].starts_with("AGE PID"));
    let table = tests::table(&[], [held(7, 4, &half_shut(2, 90))]);
    assert!(lines(&table, STRANDED)[0].starts_with("IDLE PID"));
}

#[test]
fn only_what_differs_is_worth_a_column() {
    let dead = in_state(State::Close, HELD, 2, 50);
    let mut elsewhere = sock(3, 40);
    elsewhere.conn.netns = 5;
    let scan = [held(7, 3, &sock(1, 60)), held(7, 4, &dead)];
    let one = table(&[], scan.clone());
    let two = table(&[], scan.into_iter().chain([held(7, 5, &elsewhere)]));
    let columns = "AGE PID COMM FD LOCAL REMOTE";
    assert_eq!(lines(&one, Shown::Leaked)[0], format!("{columns} VERDICT"));
    let states = Shown::States(StateSet::ALL);
    assert_eq!(lines(&one, states)[0], format!("{columns} STATE VERDICT"));
    assert_eq!(lines(&two, Shown::Leaked)[0], format!("{columns} NETNS VERDICT"));
    let shut = table(&[], [held(7, 4, &half_shut(2, 90))]);
    assert_eq!(lines(&shut, STRANDED)[0], "IDLE PID COMM FD LOCAL REMOTE STATE VERDICT");
}

#[test]
fn words_behind_a_verdict() {
    let unread = |unread, bytes_received| Sock { unread, bytes_received, ..sock(1, 60) };
    for (sock, end) in [
        (unread(25, 500), "data-unread 24B?"),
        (unread(25, 25), "data-unread 24B*"),
        (unread(1_026, 9_000), "data-unread 1K"),
        (unread(3_000_001, 9_000_000), "data-unread 3M"),
        (unread(1, 9), "eof-unread"),
    ] {
        let table = table(&[], [held(7, 3, &sock)]);
        let line = lines(&table, Shown::Leaked).swap_remove(1);
        assert!(line.ends_with(&format!("127.0.0.1:48814 {end}")), "{line}");
    }
    let all = table(&[], [held(7, 3, &unread(25, 25))]);
    let last = lines(&all, Shown::Leaked).pop();
    assert_eq!(last.as_deref(), Some("*: the program never read anything of what came"));
    let (table, _) = relay(0);
    let line = lines(&table, STRANDED).swap_remove(1);
    assert!(line.ends_with(" relayed, waits for 127.0.0.2:8080"), "{line}");
    let ring = Record::Held(Holder { pid: 7, fd: 8, slot: Some(2) }, sock(1, 60));
    let line = lines(&tests::table(&[], [ring]), Shown::Leaked).swap_remove(1);
    assert!(line.contains(" 8/2 "), "{line}");
}

#[test]
fn a_peer_has_a_column_where_it_is_asked_for() {
    let leaked = sock(1, 60);
    let mut other = half_shut(2, 60);
    other.conn = Conn { local: leaked.conn.remote, remote: leaked.conn.local, ..leaked.conn };
    let table = table(&[], [process(8, "cli"), held(7, 3, &leaked), held(8, 4, &other)]);
    let query = Query { peer: true, ..query() };
    let peers = query.peers(&table);
    let health = crate::live::health::Health::default();
    let report = Report::build(&table, &query, peers.as_ref(), now(), health);
    let text = written(|out| text::render(&report, Style::default(), out));
    assert!(text.contains(" cli[8] eof-read"), "{text}");
}

#[test]
fn a_process_line_says_what_rows_are_and_what_descriptors_are() {
    let descriptors =
        Descriptors { connected: 5, idle: 3, idle_unguarded: 2, ..Descriptors::default() };
    let scan = [
        Record::Process(
            7,
            Process { comm: "sh".to_owned(), stopped: true, descriptors, ..running() },
        ),
        held(7, 3, &sock(1, 60)),
        held(7, 4, &half_shut(2, 90)),
    ];
    let table = table(&[], scan);
    let census = "9 of 1024 descriptors open: 1 leaked, 1 half-shut, 3 connected, 4 files; \
                  3 connections idle for over an hour, 2 of them without keepalive; \
                  stopped by a signal";
    let line = |shown| {
        let lines = lines(&table, shown);
        lines.into_iter().find(|line| line.starts_with("sh[7]")).unwrap()
    };
    assert_eq!(line(Shown::Leaked), format!("sh[7]: 1 leaked, {census}"));
    assert_eq!(line(STRANDED), format!("sh[7]: 1 leaked, 1 stranded, {census}"));
    assert_eq!(line(Shown::States(StateSet::ALL)), format!("sh[7]: 2 listed, {census}"));
}

#[test]
fn a_process_that_could_not_be_read_has_a_line_all_the_same() {
    let table = table(&[], [held(7, 3, &sock(1, 60))]);
    let lines = lines(&table, Shown::Leaked);
    assert!(
        lines.contains(&"?[7]: 1 leaked, its descriptors are not known".to_owned()),
        "{lines:?}"
    );
}

fn footer(table: &Table, shown: Shown) -> Option<String> {
    text::footer(&report_of(table, &Query { shown, ..query() }))
}

#[test]
fn what_is_stranded_is_counted_below_unless_rows_show_it() {
    assert_eq!(footer(&leaks(), Shown::Leaked), None);
    let holds = |pid| held(pid, 3, &half_shut(1, 90));
    let java = [process(7, "java"), holds(7), held(7, 4, &unconnected(2))];
    let one = table(&[], java.clone());
    let counts = "also stranded: 1 half-shut, 1 unconnected in java[7]";
    assert_eq!(footer(&one, Shown::Leaked), Some(format!("{counts}: see --stranded")));
    assert_eq!(footer(&one, STRANDED), None);
    let two = table(&[], java.clone().into_iter().chain([holds(8)]));
    let others = format!("{counts} and another process: see --stranded");
    assert_eq!(footer(&two, Shown::Leaked), Some(others));
    let three = table(&[], java.into_iter().chain([holds(8), holds(9)]));
    let others = format!("{counts} and 2 other processes: see --stranded");
    assert_eq!(footer(&three, Shown::Leaked), Some(others));
    let nobody = table(&[], [Record::Unheld(half_shut(1, 90))]);
    let unknown = "also stranded: 1 half-shut: see --stranded".to_owned();
    assert_eq!(footer(&nobody, Shown::Leaked), Some(unknown));
}

#[test]
fn one_look_hints_at_relays() {
    let hints_of = |shown, scan: &[Record]| {
        let both = [process(7, "proxy"), process(8, "client")];
        let table = table(&[], both.into_iter().chain(scan.iter().cloned()));
        text::hints(&report_of(&table, &Query { shown, ..query() }))
    };
    let hints = |scan: &[Record]| hints_of(Shown::Leaked, scan);
    let shut = [held(7, 4, &half_shut(2, 90)), held(7, 5, &half_shut(3, 90))];
    let with = |sock: Sock| [held(7, 3, &sock)].into_iter().chain(shut.clone()).collect::<Vec<_>>();
    let read = hints(&with(sock(1, 60)));
    assert!(read[0].starts_with("proxy[7]: the holder also has 2 half-shut sockets"), "{read:?}");
    assert_eq!(hints(&with(Sock { unread: 1, ..sock(1, 60) })).len(), 1);
    assert_eq!(hints(&with(Sock { unread: 9, ..sock(1, 60) })).len(), 0, "it has not read all");
    assert_eq!(hints(&[held(7, 3, &sock(1, 60))]).len(), 0, "it has none");
    let of_another = [held(7, 3, &sock(1, 60)), held(8, 4, &half_shut(2, 90))];
    assert_eq!(hints(&of_another).len(), 0);
    assert_eq!(hints_of(STRANDED, &of_another).len(), 0, "nobody has both sides");
    let client = held(8, 3, &Sock { unread: 9, ..sock(5, 60) });
    let with_client = with(sock(1, 60)).into_iter().chain([client, held(8, 4, &half_shut(6, 90))]);
    let of_both = hints_of(STRANDED, &with_client.collect::<Vec<_>>());
    assert_eq!(of_both.len(), 1, "the client has read nothing: {of_both:?}");
}

#[test]
fn groups_say_which_share_each_verdict_has() {
    let scan = [
        process(7, "sh"),
        held(7, 3, &sock(1, 60)),
        held(7, 4, &half_shut(2, 90)),
        held(7, 5, &half_shut(3, 80)),
    ];
    let table = table(&[], scan);
    let report = report_of(&table, &Query { shown: STRANDED, ..query() });
    let grouped = Grouped::build(&report, GroupBy::Process);
    let text = written(|out| text::render_groups(&grouped, Style::default(), out));
    assert_eq!(squeezed(&text)[0].join(" "), "3 1m30s sh[7] eof-read 33%, half-shut 66%");
}
