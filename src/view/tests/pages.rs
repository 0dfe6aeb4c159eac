//! Text for a terminal: what fits, and no line wider than it is.

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::host::identity::Known;
use crate::report::tests::{in_state, query, report_of};
use crate::report::{Query, Shown};
use crate::sock::event::Holder;
use crate::sock::state::StateSet;

fn style(width: usize) -> Style<'static> {
    Style { headers: true, width: Some(width), ..Style::default() }
}

fn page(report: &Report<'_>, style: Style<'_>, height: Option<usize>, notes: &[&str]) -> String {
    let notes: Vec<_> = notes.iter().map(|&note| note.to_owned()).collect();
    let text = written(|out| text::render_page(report, style, height, &notes, out));
    for line in text.lines() {
        let plain = line.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(Some(plain.width()) <= style.width, "{line:?} is too wide in {text}");
    }
    assert!(height.is_none_or(|height| text.lines().count() <= height), "{text}");
    text
}

fn service(unit: &str, cmd: &str) -> Identity {
    Identity {
        exe: some("/usr/bin/python3.11"),
        cmdline: Some(cmd.split(' ').map(str::to_owned).collect()),
        user: some("shop"),
        unit: some(unit),
        known: Known::ALL,
        ..Identity::UNKNOWN
    }
}

/// Three workers of a service that share what they hold, and a server of another.
fn shop() -> Table {
    let unread = Sock { unread: 6, bytes_received: 500, ..sock(9, 7_500) };
    let mut scan = vec![process(40, "gunicorn"), process(41, "gunicorn"), process(42, "gunicorn")];
    for place in 1..=3 {
        let shared = sock(place, 100 + 1_000 * u32::try_from(place).unwrap());
        scan.extend([40, 41, 42].map(|pid| held(pid, u32::try_from(place).unwrap(), &shared)));
    }
    let full = Process { comm: "java".to_owned(), open_fds: 1_020, ..running() };
    scan.extend([Record::Process(7, full), held(7, 300, &unread)]);
    scan.push(held(7, 301, &in_state(State::Close, tests::HELD, 10, 30)));
    table(&[], scan.into_iter().chain(queued(7, 3, &sock(11, 20))))
}

/// The report of that table, with who they are.
fn shown<'a>(table: &'a Table, shop: &'a Identity, java: &'a Identity) -> Report<'a> {
    let mut report = tests::report(table);
    for process in &mut report.processes {
        process.identity = if process.comm == Some("java") { java } else { shop };
    }
    let java = report.processes.iter_mut().find(|process| process.pid == 7).unwrap();
    java.leaked_per_minute = Some(12.5);
    java.exhausted_in_seconds = Some(20.0);
    report
}

fn snapshot(width: usize, more: &[Column]) -> String {
    let (shop_is, java_is) = (
        service("shop.service", "gunicorn: worker [shop] with many words behind it"),
        service("billing.service", "java -jar billing.jar"),
    );
    let table = shop();
    let report = shown(&table, &shop_is, &java_is);
    let columns = Columns::Also(more.to_vec());
    let style = Style { time: true, columns: Some(&columns), ..style(width) };
    page(&report, style, Some(24), &["also stranded: 1 half-shut"])
}

#[test]
fn a_page_at_80_columns() {
    assert_eq!(snapshot(80, &[]), include_str!("pages/80.txt"));
}

#[test]
fn a_page_at_120_columns() {
    assert_eq!(snapshot(120, &[Column::Cmd]), include_str!("pages/120.txt"));
}

#[test]
fn a_page_at_200_columns() {
    assert_eq!(
        snapshot(200, &[Column::Cmd, Column::Exe, Column::User]),
        include_str!("pages/200.txt")
    );
}

/// The workload of a bad night: a refresh writes less than 4 KiB, however many rows there are.
#[test]
fn a_hundred_thousand_leaks_fit_a_small_terminal() {
    let scan = (0..100_000_u32).map(|at| {
        let mut sock = sock(at.into(), at);
        sock.conn.remote.port = u16::try_from(at % 60_000).unwrap();
        held(1_000_000 + at % 6, at / 6 + 3, &sock)
    });
    let names = (0..6).map(|at| process(1_000_000 + at, "fifteen-letters"));
    let table = table(&[], scan.chain(names));
    let report = tests::report(&table);
    let text = page(&report, Style { time: true, colour: true, ..style(80) }, Some(23), &[]);
    assert_eq!(text.lines().count(), 23, "{text}");
    assert!(text.len() < 4_000, "{}: {text}", text.len());
    assert!(text.contains(" fifteen-letters[1000000] "), "{text}");
    assert!(text.contains("\n>=1d03h 1000003 "), "the oldest come first: {text}");
    let rows = text.lines().filter(|line| line.contains(" 127.0.0.1:9005 ")).count();
    assert!(text.contains(&format!("\n… 99,{} more: -a shows all\n", 1_000 - rows)), "{text}");
}

#[test]
fn what_does_not_fit_is_left_out_in_the_order_of_its_weight() {
    let scan = (0..40_u32).map(|at| held(7, at, &sock(at.into(), at)));
    let table = table(&[], scan.chain([process(7, "sh")]));
    let report = tests::report(&table);
    let note = "incomplete: events were lost";
    for height in 0..60 {
        let text = page(&report, style(80), Some(height), &[note]);
        let lines: Vec<_> = text.lines().collect();
        // Titles without a row under them are of no use.
        let wanted = if height == 4 { 3 } else { height.min(45) };
        assert_eq!(lines.len(), wanted, "{text}");
        let has = |what: &str| text.contains(what);
        assert_eq!(has(note), height >= 10, "{height}: {text}");
        assert_eq!(has("eof-read: the program"), height >= 11, "{height}: {text}");
        assert_eq!(has(" more: -a shows all"), (3..45).contains(&height), "{height}: {text}");
    }
}

#[test]
fn nothing_at_all_where_nothing_is_leaked() {
    let empty = table(&[], []);
    let report = tests::report(&empty);
    let notes = ["also stranded: 1 half-shut"];
    assert_eq!(page(&report, Style { rows: Some(0), ..style(80) }, None, &notes), "");
}

/// A terminal of 20×5: what has no room is counted.
#[test]
fn the_smallest_page_says_how_many_more_there_are() {
    let scan = (0..5).flat_map(|pid| [process(pid, "sh"), held(pid, 3, &sock(pid.into(), 60))]);
    let table = table(&[], scan);
    let report = tests::report(&table);
    for (height, last) in [(3, "… 5 more"), (4, "… 4 more"), (5, "… 3 more")] {
        let text = page(&report, Style { time: true, ..style(20) }, Some(height), &[]);
        assert_eq!(text.lines().last(), Some(last), "{text}");
    }
    // In the place of a line that counts one there is that one.
    let summary = |height| {
        let text = page(&report, Style { rows: Some(0), ..style(80) }, Some(height), &[]);
        text.lines().skip(1).map(|line| line.contains(" sh[")).collect::<Vec<_>>()
    };
    assert_eq!(summary(15), [true; 5]);
    assert_eq!(summary(12), [true, true, true, false]);
}

/// Two users may have services of the same name.
#[test]
fn services_of_two_users_are_two_lines() {
    let scan = (0..4).flat_map(|pid| [process(pid, "sh"), held(pid, 3, &sock(pid.into(), 60))]);
    let table = table(&[], scan);
    let mut report = tests::report(&table);
    let of = |manager: Option<&str>| Identity {
        manager: manager.map(str::to_owned),
        ..service("shop.service", "sh")
    };
    let identities =
        [of(None), of(Some("user@1000.service")), of(Some("user@1001.service")), of(None)];
    for (process, identity) in report.processes.iter_mut().zip(&identities) {
        process.identity = identity;
    }
    let text = page(&report, Style { rows: Some(0), ..style(80) }, None, &[]);
    let leaked: Vec<_> = text.lines().skip(1).map(|line| squeezed(line)[0][0].to_owned()).collect();
    assert_eq!(leaked[..3], ["2", "1", "1"], "{text}");
    assert!(text.contains(" sh ×2 "), "{text}");
}

#[test]
fn so_many_rows_as_were_asked_for() {
    let table = leaks();
    let report = report(&table);
    let rows = |rows| {
        let text = page(&report, Style { rows, ..style(200) }, None, &[]);
        text.lines().filter(|line| line.contains(" 127.0.0.1:48814 ")).count()
    };
    assert_eq!([rows(None), rows(Some(9)), rows(Some(2)), rows(Some(1))], [3, 3, 2, 1]);
    let summary = page(&report, Style { rows: Some(0), ..style(200) }, None, &[]);
    let first: Vec<_> = squeezed(&summary).into_iter().map(|line| line[0].to_owned()).collect();
    assert_eq!(first, ["LEAKED", "1", "1", "0", "listener"], "{summary}");
    assert!(summary.contains("(unknown)"), "{summary}");
    // In a pipe, too.
    let style = Style { headers: true, rows: Some(1), ..Style::default() };
    let text = written(|out| text::render(&report, style, out));
    assert!(text.lines().nth(2) == Some("… 2 more: -a shows all"), "{text}");
}

/// Workers that were forked hold the same sockets: each counts once.
#[test]
fn a_service_is_one_line_and_its_sockets_count_once() {
    let scan = || {
        let shared = (0..5_u32).flat_map(|fd| {
            [1, 2, 3].map(|pid| Record::Held(Holder::at(pid, fd), sock(fd.into(), 60)))
        });
        let half = held(3, 9, &half_shut(30, 90));
        shared.chain([half, held(4, 5, &sock(20, 9)), process(4, "sshd")])
    };
    let workers = [1, 2, 3].map(|pid| process(pid, "php-fpm"));
    let table = table(&[], scan().chain(workers));
    let fpm = service("php8.2-fpm.service", "php-fpm: pool www");
    let other = Identity { unit: some("session-4.scope"), ..fpm.clone() };
    for (shown, first, titles) in [
        (Shown::Leaked, "5", "LEAKED OLDEST FDS WHO WHERE DESCRIPTORS"),
        (Shown::Stranded, "5 1", "LEAKED STRANDED OLDEST FDS WHO WHERE DESCRIPTORS"),
        (Shown::States(StateSet::ALL), "6", "LISTED OLDEST FDS WHO WHERE DESCRIPTORS"),
    ] {
        let mut report = report_of(&table, &Query { shown, ..query() });
        for process in &mut report.processes {
            process.identity = if process.pid == 4 { &other } else { &fpm };
        }
        let text = page(&report, Style { rows: Some(0), ..style(200) }, None, &[]);
        let lines: Vec<_> = text.lines().map(|line| squeezed(line)[0].join(" ")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], titles);
        assert!(lines[1].starts_with(&format!("{first} ")), "{text}");
        assert!(lines[1].contains(" php-fpm ×3 php8.2-fpm.service of "), "{text}");
        assert!(lines[2].contains(" sshd[4] session-4.scope 1 leaked"), "{text}");
    }
}

#[test]
fn names_are_cut_where_a_terminal_is_narrow() {
    let long = service("a-service-with-a-very-long-name.service", &"word ".repeat(800));
    let table = table(&[], [process(7, "サーバーサーバー"), held(7, 3, &sock(1, 60))]);
    let mut report = tests::report(&table);
    report.processes[0].identity = &long;
    let columns = Columns::Also(vec![Column::Cmd, Column::Exe, Column::Unit]);
    for width in [1, 20, 40, 80, 120, 200] {
        let text = page(&report, Style { columns: Some(&columns), ..style(width) }, Some(24), &[]);
        assert!(text.contains('…'), "{text}");
    }
    let whole = Style { columns: Some(&columns), ..Style::default() };
    let text = written(|out| text::render(&report, whole, out));
    assert!(!text.contains('…') && text.len() > 4_000, "nothing is cut in a pipe: {text}");
}

#[test]
fn groups_fit_as_well() {
    let scan = (0..40).map(|pid| held(pid, 3, &sock(pid.into(), 60)));
    let table = table(&[], scan.chain((0..40).map(|pid| process(pid, "a-long-name-it-is"))));
    let grouped = Grouped::build(&tests::report(&table), GroupBy::Process);
    let style = style(30);
    let notes = ["also stranded: many half-shut in java[7]".to_owned()];
    let text = written(|out| text::render_groups_page(&grouped, style, Some(10), &notes, out));
    assert_eq!(text.lines().count(), 10, "{text}");
    assert!(text.lines().all(|line| line.width() <= 30), "{text}");
    assert!(text.contains("… 34 more: -a shows all"), "{text}");
}

#[test]
fn a_status_counts_what_is_watched() {
    let watching = |seconds, shown, is_filtered| text::Watching {
        processes: 214,
        sockets: Some(3_120),
        shown,
        is_filtered,
        lasting: Duration::from_secs(seconds),
    };
    let status = watching(12, Shown::Leaked, false);
    let plain = "watching 214 processes, 3,120 TCP sockets: nothing leaked (12 s)";
    assert_eq!(status.to_string(), plain);
    let status = watching(3_700, Shown::Stranded, true);
    let filtered = "watching 214 processes, 3,120 TCP sockets: nothing leaked or stranded (filtered, \
                    1h01m)";
    assert_eq!(status.to_string(), filtered);
    let lines = text::fitted(&["first".to_owned(), plain.to_owned()], 40, 2);
    assert_eq!(lines, ["watching 214 processes, 3,120 TCP", "  sockets: nothing leaked (12 s)"]);
}
