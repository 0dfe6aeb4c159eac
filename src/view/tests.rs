//! A snapshot of each view, of one report.

mod columns;
mod pages;
mod text_only;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::text::Style;
use super::*;
use crate::host::clock::Moment;
use crate::host::identity::{Identity, Known};
use crate::live::health::Incomplete;
use crate::live::table::Table;
use crate::report::Report;
use crate::report::column::{Column, Columns};
use crate::report::group::{GroupBy, Grouped};
use crate::report::tests::{
    self, SECOND, end, half_shut, held, now, process, queued, running, sock, table,
};
use crate::sock::conn::{Conn, Endpoint, SockPtr};
use crate::sock::event::{
    Actor, Descriptors, Process, Progress, Record, Sock, SockFlags, Transition,
};
use crate::sock::state::State;

/// A leak of data, a descriptor in flight, and a connection that nobody accepts.
fn leaks() -> Table {
    let data =
        Sock { unread: 6, bytes_received: 500, cookie: NonZeroU64::new(96_013), ..sock(2, 200) };
    let mut flying = sock(3, 12);
    flying.conn.local = Endpoint::new([0xfd; 16], 1);
    let waiting = sock(4, 1);
    let python3 = Descriptors { listening: 1, ..Descriptors::default() };
    let evil = Descriptors { connected: 2, other_sockets: 3, ..Descriptors::default() };
    let scan = [
        with_descriptors(20_166, "python3", python3),
        with_descriptors(20_167, "\x1b[31mevil", evil),
        held(20_167, 6, &data),
        held(20_167, 7, &data),
        Record::Unheld(flying.clone()),
    ];
    table(&[&flying, &waiting], scan.into_iter().chain(queued(20_166, 3, &waiting)))
}

fn with_descriptors(pid: u32, comm: &str, descriptors: Descriptors) -> Record {
    Record::Process(pid, Process { comm: comm.to_owned(), descriptors, ..running() })
}

/// With what one report alone cannot know.
fn report(table: &Table) -> Report<'_> {
    let mut report = tests::report(table);
    for process in report.processes.iter_mut().filter(|process| process.pid == 20_166) {
        process.leaked_per_minute = Some(12.5);
        process.exhausted_in_seconds = Some(4872.0);
    }
    report
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn written(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn text() {
    let table = leaks();
    let style = Style { headers: true, ..Style::default() };
    let expected = "
    AGE   PID COMM       FD LOCAL                                       REMOTE          VERDICT
>=3m20s 20167 \u{fffd}[31mevil 6,7 127.0.0.1:9005                              127.0.0.1:48814 data-unread 5B?
  12.0s     - (unknown)   - [fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:1 127.0.0.1:48814 eof-read
   1.0s 20166 python3     3 127.0.0.1:9005                              127.0.0.1:48814 never-accepted
\u{fffd}[31mevil[20167]: 1 leaked, 9 of 1024 descriptors open: 2 leaked, 3 other sockets, 4 files
python3[20166]: 9 of 1024 descriptors open: 1 listening, 8 files; +12.5/min, out of descriptors in 1h21m
listener 127.0.0.1:9005 of python3[20166], fd 3: backlog: 128/128, 1 never accepted
eof-read: the program read end-of-file and forgot to close
data-unread: the peer left data, and the program does not read it
never-accepted: the peer left before the program accepted the connection
?: perhaps the goodbye of a peer that closed an idle connection of a pool (TLS close_notify, \
HTTP 408, FTP 421, GOAWAY)
";
    assert_eq!(written(|out| text::render(&report(&table), style, out)), expected[1..]);
}

#[test]
fn text_in_colour_with_the_time_and_without_headers() {
    let table = leaks();
    let style = Style { headers: false, colour: true, time: true, ..Style::default() };
    let text = written(|out| text::render(&report(&table), style, out));
    assert!(text.starts_with("\x1b[1m2026-11-23T03:10:00Z\x1b[0m\n>=3m20s"), "{text}");
    assert!(!text.contains("\x1b[31m"), "a name has reached the terminal: {text}");
}

#[test]
fn an_old_scan_is_called_old() {
    let table = leaks();
    let mut report = report(&table);
    report.scanned_ago = Some(12 * 1_000_000_000);
    let line = "holders and unread bytes are as of the last scan, 12.0s ago\n";
    for (stale, is_said) in [(None, false), (Some(12), false), (Some(11), true)] {
        let style = Style { stale: stale.map(Duration::from_secs), ..Style::default() };
        let text = written(|out| text::render(&report, style, out));
        assert_eq!(text.ends_with(line), is_said, "{text}");
        let grouped = Grouped::build(&report, GroupBy::Process);
        let text = written(|out| text::render_groups(&grouped, style, out));
        assert_eq!(text.ends_with(line), is_said, "{text}");
    }
}

#[test]
fn nothing_leaked_is_nothing_written() {
    let style = Style { headers: true, colour: true, time: true, ..Style::default() };
    let table = table(&[], []);
    let empty = report(&table);
    let grouped = Grouped::build(&empty, GroupBy::Process);
    assert_eq!(written(|out| text::render(&empty, style, out)), "");
    assert_eq!(written(|out| text::render_groups(&grouped, style, out)), "");
}

#[test]
fn ipv4_fits_a_hundred_columns() {
    let mut widest = Sock { unread: 1_000, ..sock(1, 99 * 86_400) };
    widest.conn.local = Endpoint::from(SocketAddr::from(([255; 4], 65_535)));
    widest.conn.remote = widest.conn.local;
    let holders = [19_999, 20_000].map(|fd| held(4_194_304, fd, &widest));
    let scan = [process(4_194_304, "fifteen-letters")].into_iter().chain(holders);
    let table = table(&[], scan);
    let style = Style { headers: true, ..Style::default() };
    let text = written(|out| text::render(&report(&table), style, out));
    assert!(text.contains("99d00h 4194304 fifteen-letters 2fds 255.255.255.255:65535"), "{text}");
    let width = text.lines().map(str::len).max().unwrap();
    assert!(width < 100, "{width}: {text}");
}

/// By the contract: see `schema` in the report.
#[test]
fn json() {
    let known = Sock { bytes_received: 121, bytes_acked: 4096, ..sock(0x500, 12) };
    let (waiting, shut) = (sock(0x600, 1), half_shut(0x700, 90));
    let descriptors = Descriptors {
        connected: 4,
        listening: 1,
        other_sockets: 1,
        idle: 2,
        idle_unguarded: 1,
        ..Descriptors::default()
    };
    let scan = [
        with_descriptors(20_166, "python3", descriptors),
        held(20_166, 5, &known),
        held(20_166, 6, &shut),
    ];
    let scan = scan.into_iter().chain(queued(20_166, 3, &waiting));
    let table = table(&[&known], scan);
    let expected = concat!(
        r#"{"schema":1,"time":"2026-11-23T03:10:00.123Z","complete":false,"#,
        r#""incomplete":[{"reason":"walk-truncated","text":"sockets without a descriptor may be "#,
        r#"missing: this kernel lets us walk through a part of its connections only "#,
        r#"(Linux 5.17 and later: through all)"}],"#,
        r#""lost_events":3,"scanned_seconds_ago":0.4,"#,
        r#""sockets":[{"sock":"0xffff88814ee62500","cookie":null,"#,
        r#""netns":4026531833,"family":"ipv4","direction":"connected","local":"127.0.0.1:9005","#,
        r#""remote":"127.0.0.1:48814","state":"CLOSE_WAIT","class":"leaked","#,
        r#""verdict":"eof-read","unread_bytes":0,"maybe_farewell":false,"#,
        r#""bytes_received":120,"bytes_acked":4096,"age_seconds":12.0,"age_is":"exact","#,
        r#""age_at_most_seconds":12.0,"idle_seconds":12.0,"pid":20166,"comm":"python3","uid":0,"#,
        r#""fds":[5],"ownership":"held"},{"sock":"0xffff88814ee62600","cookie":null,"#,
        r#""netns":4026531833,"family":"ipv4","direction":"accepted","local":"127.0.0.1:9005","#,
        r#""remote":"127.0.0.1:48814","state":"CLOSE_WAIT","class":"leaked","#,
        r#""verdict":"never-accepted","unread_bytes":0,"maybe_farewell":false,"#,
        r#""bytes_received":0,"bytes_acked":0,"age_seconds":1.0,"age_is":"at-least","#,
        r#""age_at_most_seconds":3.0,"idle_seconds":1.0,"pid":20166,"comm":"python3","uid":0,"#,
        r#""fds":[3],"ownership":"listener"}],"#,
        r#""processes":[{"pid":20166,"comm":"python3","uid":0,"exe":"/usr/bin/python3.11","#,
        r#""cmdline":["python3","shop.py"],"started":"2026-11-23T03:00:00.000Z","ppid":1,"#,
        r#""parent_comm":"systemd","user":"shop","unit":"shop.service","slice":"system.slice","#,
        r#""runtime":null,"container_id":null,"pod_uid":null,"pod":null,"namespace":null,"#,
        r#""container":null,"leaked":1,"stranded":1,"#,
        r#""open_fds":9,"fd_limit":1024,"descriptors":{"leaked":1,"stranded":1,"connected":2,"#,
        r#""listening":1,"unconnected":0,"other_sockets":1,"files":3,"idle":2,"#,
        r#""idle_without_keepalive":1},"leaked_per_minute":12.5,"exhausted_in_seconds":4872.0}],"#,
        r#""listeners":[{"sock":"0x9","netns":4026531833,"local":"127.0.0.1:9005","pid":20166,"#,
        r#""comm":"python3","fds":[3],"holders":[{"pid":20166,"comm":"python3","fds":[3]}],"#,
        r#""backlog":128,"max_backlog":128,"never_accepted":1,"unaccepted":0}],"#,
        r#""stranded":{"half-shut":1}}"#,
        "\n",
    );
    let identity = Identity {
        exe: some("/usr/bin/python3.11"),
        cmdline: Some(vec!["python3".to_owned(), "shop.py".to_owned()]),
        started: humantime::parse_rfc3339("2026-11-23T03:00:00Z").ok(),
        ppid: Some(1),
        parent_comm: some("systemd"),
        user: some("shop"),
        unit: some("shop.service"),
        slice: some("system.slice"),
        known: Known::ALL,
        ..Identity::UNKNOWN
    };
    let mut report = report(&table);
    report.processes[0].identity = &identity;
    report.incomplete = vec![Incomplete::WalkTruncated];
    (report.complete, report.lost_events, report.scanned_ago) = (false, 3, Some(SECOND * 2 / 5));
    assert_eq!(written(|out| json::render(&report, out)), expected);
    assert_eq!(written(|out| json::render_report(&report, out)), expected);
}

#[test]
fn groups() {
    let table = leaks();
    let grouped = Grouped::build(&report(&table), GroupBy::Listener);
    let keys: Vec<_> = grouped.groups.iter().map(|group| (&*group.key, group.count)).collect();
    assert_eq!(keys, [("127.0.0.1:9005", 2), ("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:1", 1)]);

    let grouped = Grouped::build(&report(&table), GroupBy::Process);
    let style = Style { headers: true, ..Style::default() };
    let expected = "COUNT OLDEST WHAT                      VERDICTS
    1  3m20s \u{fffd}[31mevil[20167]     data-unread 100%
    1  12.0s unknown                   eof-read 100%
    1   1.0s python3[20166]            never-accepted 100%
";
    let text = written(|out| text::render_groups(&grouped, style, out));
    assert_eq!(squeezed(&text), squeezed(expected));
}

/// Widths are the business of the table's own snapshot.
fn squeezed(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Out of CLOSE_WAIT.
fn transition(actor: Option<Actor>) -> Transition {
    Transition {
        ktime: 7 * SECOND,
        sock: SockPtr(0xffff_8881_4ee6_2500),
        conn: Conn { local: end(1, 9005), remote: end(1, 48_814), netns: 1 },
        cookie: None,
        old: State::CloseWait,
        new: State::LastAck,
        flags: SockFlags::empty(),
        progress: Progress::default(),
        err: 0,
        actor,
    }
}

#[test]
fn an_event_names_its_actor_or_nobody() {
    let now = Moment { ktime: 8 * SECOND, ..now() };
    let line = |actor, in_old_state| {
        let row = events::EventRow::new(transition(actor), in_old_state, now);
        written(|out| events::render(&row, out))
    };
    let actor = Actor { pid: Some(7), comm: "\x07sh".to_owned(), exiting: true };
    assert_eq!(
        line(Some(actor), Some(1_500_000)),
        "03:09:59.123 0xffff88814ee62500 127.0.0.1:9005        127.0.0.1:48814       \
         CLOSE_WAIT  LAST_ACK         1.500       7 \u{fffd}sh (exiting)\n"
    );
    assert!(line(None, None).ends_with("LAST_ACK             -       - -\n"));
}

/// Text and JSON, rows and groups: in none of them gets through what would act, or cannot be seen.
#[test]
fn names_are_harmless_in_every_format() {
    let evil = "\u{1b}[2J\u{202e}\u{200b}\u{3164}\u{2800}\u{e0041}";
    let plain = "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}";
    let table = table(&[], [held(7, 3, &sock(1, 1)), process(7, evil)]);
    let identity = Identity {
        exe: some(evil),
        cmdline: Some(vec![evil.to_owned(), "a\nb".to_owned()]),
        user: some(evil),
        unit: some(evil),
        known: Known::ALL,
        ..Identity::UNKNOWN
    };
    let mut report = report(&table);
    report.processes[0].identity = &identity;
    let whose = [Column::Cmd, Column::Exe, Column::User, Column::Unit];
    let columns = Columns::Also(whose.to_vec());
    let wide = Style { columns: Some(&columns), width: Some(400), ..Style::default() };
    let page = written(|out| text::render_page(&report, wide, Some(24), &[], out));
    assert_eq!(page.lines().count(), 3, "a newline in an argument makes no line: {page:?}");
    let grouped = Grouped::build(&report, GroupBy::Process);
    let actor = Actor { pid: Some(7), comm: evil.to_owned(), exiting: false };
    let event = events::EventRow::new(transition(Some(actor)), None, now());
    let style = Style::default();
    for text in [
        written(|out| text::render(&report, style, out)),
        written(|out| text::render_groups(&grouped, style, out)),
        written(|out| json::render_report(&report, out)),
        written(|out| json::render(&report, out)),
        written(|out| json::render(&grouped, out)),
        written(|out| events::render(&event, out)),
        written(|out| json::render(&event, out)),
        page,
        written(|out| csv::render(&report, csv::Style::default(), out)),
        written(|out| csv::render_groups(&grouped, csv::Style::default(), out)),
        written(|out| csv::render_record(&event, true, out)),
    ] {
        assert!(text.contains(plain), "{text:?}");
        for c in evil.chars().filter(|c| !c.is_ascii_graphic()) {
            // JSON would escape a control.
            let escaped = format!("\\u{:04x}", c as u32);
            assert!(!text.contains(c) && !text.contains(&escaped), "{text:?}");
        }
    }
}

/// In as many chunks as threads are started for.
#[test]
fn a_long_report_has_a_line_for_each_row() {
    let age = |at: u16| 20_000 - u32::from(at);
    let scan = (0..12_345_u16).map(|at| {
        let mut sock = sock(at.into(), age(at));
        sock.conn.remote.port = at;
        held(7, at.into(), &sock)
    });
    let table = table(&[], scan.chain([process(7, "sh")]));
    let style = Style { headers: true, ..Style::default() };
    let text = written(|out| text::render(&report(&table), style, out));
    let mut lines = text.lines();
    let header = "    AGE PID COMM    FD LOCAL          REMOTE          VERDICT";
    assert_eq!(lines.next(), Some(header));
    for (at, line) in (0..12_345).zip(&mut lines) {
        let (hours, minutes) = (age(at) / 3_600, age(at) / 60 % 60);
        let remote = format!("127.0.0.1:{at}");
        let begin = format!(">={hours}h{minutes:02}m   7 sh   {at:>5} 127.0.0.1:9005 ");
        assert_eq!(line, format!("{begin}{remote:15} eof-read"));
    }
    assert!(lines.next().is_some_and(|line| line.starts_with("sh[7]: 12345 leaked")));
}
