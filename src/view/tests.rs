//! A snapshot of each view, of one report.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use super::text::Style;
use super::*;
use crate::conn::{Conn, Endpoint, SockPtr};
use crate::event::{Actor, SockFlags, Transition};
use crate::group::{GroupBy, Grouped};
use crate::report::{AgeIs, ListenerRow, Moment, Ownership, ProcessRow, Report, SCHEMA, SocketRow};
use crate::state::State;
use crate::verdict::Verdict;

const SECOND: u64 = 1_000_000_000;

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_403_400_123)
}

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last], port)
}

fn row(sock: u64, age: u64, verdict: Verdict) -> SocketRow {
    SocketRow {
        sock: SockPtr(0xffff_8881_4ee6_2000 + sock),
        cookie: None,
        netns: 4_026_531_833,
        family: "ipv4",
        local: end(1, 9005),
        remote: end(1, 48_814),
        state: State::CloseWait,
        verdict: Some(verdict),
        unread_bytes: Some(0),
        age: age * SECOND,
        age_is: AgeIs::Exact,
        age_at_most: Some(age * SECOND),
        idle: Some(age * SECOND),
        pid: Some(20_166),
        comm: Some("python3".into()),
        uid: Some(0),
        fds: [5].into_iter().collect(),
        ownership: Ownership::Held,
    }
}

fn report() -> Report {
    let mut data = row(2, 200, Verdict::DataUnread);
    data.unread_bytes = Some(5);
    (data.age_is, data.age_at_most) = (AgeIs::AtLeast, None);
    data.cookie = NonZeroU64::new(96_013);
    data.fds = [6, 7].into_iter().collect();
    data.comm = Some("\x1b[31mevil".into());

    let mut flying = row(3, 12, Verdict::EofRead);
    (flying.pid, flying.comm, flying.uid) = (None, None, None);
    (flying.fds, flying.ownership) = (Default::default(), Ownership::Unknown);
    flying.local = Endpoint::new([0xfd; 16], 1);

    let mut queued = row(4, 1, Verdict::NeverAccepted);
    queued.ownership = Ownership::Listener;
    Report {
        schema: SCHEMA,
        time: time(),
        complete: true,
        incomplete: Vec::new(),
        lost_events: 0,
        sockets: vec![data, flying, queued],
        processes: vec![ProcessRow {
            pid: 20_166,
            comm: Some("python3".into()),
            uid: Some(0),
            leaked: 2,
            open_fds: Some(9),
            fd_limit: Some(1024),
            leaked_per_minute: Some(12.5),
            exhausted_in_seconds: Some(4872.0),
        }],
        listeners: vec![ListenerRow {
            sock: SockPtr(9),
            netns: 4_026_531_833,
            local: end(1, 9005),
            pid: 20_166,
            comm: Some("python3".into()),
            fds: [3].into_iter().collect(),
            backlog: 128,
            max_backlog: 128,
            never_accepted: 1,
        }],
    }
}

fn written(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn text() {
    let style = Style { headers: true, ..Style::default() };
    let expected = "
    AGE   PID COMM       FD LOCAL                                       REMOTE          VERDICT
>=3m20s 20166 \u{fffd}[31mevil 6,7 127.0.0.1:9005                              127.0.0.1:48814 data-unread 5B
  12.0s     - (unknown)   - [fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:1 127.0.0.1:48814 eof-read
   1.0s 20166 python3     5 127.0.0.1:9005                              127.0.0.1:48814 never-accepted
python3[20166]: 2 leaked, 9 of 1024 descriptors open, 12.5 more a minute, the last in 1h21m
listener 127.0.0.1:9005 of python3[20166], fd 3: backlog: 128/128, 1 never accepted
eof-read: the program read end-of-file and forgot to close
data-unread: data waits that the program does not read
never-accepted: the program does not accept the connection
";
    assert_eq!(written(|out| text::render(&report(), style, out)), expected[1..]);
}

#[test]
fn text_in_colour_with_the_time_and_without_headers() {
    let style = Style { headers: false, colour: true, time: true };
    let text = written(|out| text::render(&report(), style, out));
    assert!(text.starts_with("\x1b[1m2026-11-23T03:10:00Z\x1b[0m\n>=3m20s"), "{text}");
    assert!(!text.contains("\x1b[31m"), "a name has reached the terminal: {text}");
}

#[test]
fn nothing_leaked_is_nothing_written() {
    let style = Style { headers: true, colour: true, time: true };
    let empty = Report { sockets: Vec::new(), ..report() };
    let grouped = Grouped::build(&empty, GroupBy::Process);
    assert_eq!(written(|out| text::render(&empty, style, out)), "");
    assert_eq!(written(|out| text::render_groups(&grouped, style, out)), "");
}

#[test]
fn ipv4_fits_a_hundred_columns() {
    let mut widest = row(1, 99 * 86_400, Verdict::DataUnread);
    widest.unread_bytes = Some(999);
    widest.local = Endpoint { addr: [255, 255, 255, 255].into(), port: 65_535 };
    widest.remote = widest.local;
    (widest.pid, widest.comm) = (Some(4_194_304), Some("fifteen-letters".into()));
    widest.age_is = AgeIs::AtLeast;
    widest.fds = [19_999, 20_000].into_iter().collect();
    let report = Report { sockets: vec![widest], ..report() };
    let text = written(|out| text::render(&report, Style::default(), out));
    let width = text.lines().map(str::len).max().unwrap();
    assert!(width < 100, "{width}: {text}");
}

#[test]
fn json() {
    let report = Report { sockets: vec![row(0x500, 12, Verdict::EofRead)], ..report() };
    let expected = concat!(
        r#"{"schema":1,"time":"2026-11-23T03:10:00.123Z","complete":true,"incomplete":[],"#,
        r#""lost_events":0,"sockets":[{"sock":"0xffff88814ee62500","cookie":null,"#,
        r#""netns":4026531833,"family":"ipv4","local":"127.0.0.1:9005","#,
        r#""remote":"127.0.0.1:48814","state":"CLOSE_WAIT","verdict":"eof-read","#,
        r#""unread_bytes":0,"age_seconds":12.0,"age_is":"exact","age_at_most_seconds":12.0,"#,
        r#""idle_seconds":12.0,"pid":20166,"comm":"python3","uid":0,"fds":[5],"#,
        r#""ownership":"held"}],"processes":[{"pid":20166,"comm":"python3","uid":0,"leaked":2,"#,
        r#""open_fds":9,"fd_limit":1024,"leaked_per_minute":12.5,"exhausted_in_seconds":4872.0}],"#,
        r#""listeners":[{"sock":"0x9","netns":4026531833,"local":"127.0.0.1:9005","pid":20166,"#,
        r#""comm":"python3","fds":[3],"backlog":128,"max_backlog":128,"never_accepted":1}]}"#,
        "\n",
    );
    assert_eq!(written(|out| json::render(&report, out)), expected);
}

#[test]
fn groups() {
    let grouped = Grouped::build(&report(), GroupBy::Listener);
    let keys: Vec<_> = grouped.groups.iter().map(|group| (&*group.key, group.count)).collect();
    assert_eq!(keys, [("127.0.0.1:9005", 2), ("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:1", 1)]);

    let grouped = Grouped::build(&report(), GroupBy::Process);
    let style = Style { headers: true, ..Style::default() };
    let expected = "COUNT OLDEST WHAT                      VERDICTS
    1  3m20s \u{fffd}[31mevil[20166]     data-unread 100%
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

#[test]
fn an_event_names_its_actor_or_nobody() {
    let transition = |actor| Transition {
        ktime: 7 * SECOND,
        sock: SockPtr(0xffff_8881_4ee6_2500),
        conn: Conn { local: end(1, 9005), remote: end(1, 48_814), netns: 1 },
        cookie: None,
        old: State::CloseWait,
        new: State::LastAck,
        flags: SockFlags(0),
        err: 0,
        actor,
    };
    let now = Moment { ktime: 8 * SECOND, time: time() };
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

#[test]
fn what_would_act_on_a_terminal_is_replaced() {
    assert_eq!(sanitised("it's a \"näme\" 東"), "it's a \"näme\" 東");
    assert_eq!(sanitised("\x1b[2J\x07\n"), "\u{fffd}[2J\u{fffd}\u{fffd}");
    assert_eq!(sanitised("\u{9b}31m\u{202e}"), "\u{fffd}31m\u{fffd}");
}
