//! Columns that were asked for, in text and in CSV.

use super::*;
use crate::host::identity::Known;

fn text_of(report: &Report<'_>, columns: &Columns) -> Vec<String> {
    let style = Style { headers: true, columns: Some(columns), ..Style::default() };
    let text = written(|out| text::render(report, style, out));
    text.lines().map(|line| squeezed(line)[0].join(" ")).collect()
}

fn csv_of(report: &Report<'_>, style: csv::Style<'_>) -> Vec<Vec<String>> {
    let text = written(|out| csv::render(report, style, out));
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let records = reader.records().map(|record| record.unwrap());
    records.map(|record| record.iter().map(str::to_owned).collect()).collect()
}

fn web() -> Identity {
    Identity {
        exe: some("/srv/web"),
        cmdline: Some(vec!["web".to_owned(), "--name".to_owned(), "a,\"b\"\n".to_owned()]),
        user: some("www"),
        unit: some("web.service"),
        known: Known::ALL,
        ..Identity::UNKNOWN
    }
}

#[test]
fn columns_in_the_order_in_which_they_were_asked_for() {
    let table = leaks();
    let identity = web();
    let mut report = report(&table);
    report.processes.iter_mut().for_each(|process| process.identity = &identity);
    let only = Columns::Only(vec![Column::Fd, Column::Pid, Column::User, Column::Unit]);
    assert_eq!(
        text_of(&report, &only)[..4],
        ["FD PID USER UNIT", "6,7 20167 www web.service", "- - - -", "3 20166 www web.service"]
    );
    let more = Columns::Also(vec![Column::Since, Column::Used, Column::Limit, Column::Pid]);
    let lines = text_of(&report, &more);
    assert_eq!(lines[0], "AGE PID COMM FD LOCAL REMOTE VERDICT SINCE USED LIMIT");
    assert!(lines[1].ends_with(" data-unread 5B? <=2026-11-23T03:06:40Z 9 1024"), "{lines:?}");
    assert!(lines[2].ends_with(" eof-read 2026-11-23T03:09:48Z - -"), "{lines:?}");
}

/// By default a row shows the length of time that counts; who asks for both gets both.
#[test]
fn age_and_idle_are_both_shown_where_they_were_asked_for() {
    let table = table(&[], [held(7, 3, &half_shut(1, 90))]);
    let query = crate::report::Query {
        shown: crate::report::Shown::Stranded,
        ..crate::report::tests::query()
    };
    let report = crate::report::tests::report_of(&table, &query);
    let both = Columns::Only(vec![Column::Age, Column::Idle, Column::Class, Column::Direction]);
    assert_eq!(text_of(&report, &both)[1], ">=1m30s 1m30s stranded connected");
}

#[test]
fn what_tells_rows_apart_shows_itself() {
    let scan =
        [process(7, "a"), process(8, "b"), held(7, 3, &sock(1, 60)), held(8, 3, &sock(2, 9))];
    let table = table(&[], scan);
    let titles = |first: &Identity, second: &Identity| {
        let mut report = tests::report(&table);
        (report.processes[0].identity, report.processes[1].identity) = (first, second);
        text_of(&report, &Columns::Default).swap_remove(0)
    };
    let one = web();
    let two = Identity { unit: some("shop.service"), ..web() };
    let box_a = Identity { container_id: some(&"a".repeat(64)), ..web() };
    let box_b = Identity { container_id: some(&"b".repeat(64)), ..two.clone() };
    assert_eq!(titles(&one, &one), "AGE PID COMM FD LOCAL REMOTE VERDICT");
    assert_eq!(titles(&one, &Identity::UNKNOWN), "AGE PID COMM FD LOCAL REMOTE VERDICT");
    assert_eq!(titles(&one, &two), "AGE PID COMM UNIT FD LOCAL REMOTE VERDICT");
    assert_eq!(titles(&box_a, &box_a), "AGE PID COMM FD LOCAL REMOTE VERDICT");
    assert_eq!(titles(&box_a, &box_b), "AGE PID COMM CONTAINER FD LOCAL REMOTE VERDICT");
    assert_eq!(titles(&box_a, &one), "AGE PID COMM CONTAINER FD LOCAL REMOTE VERDICT");
}

#[test]
fn csv_has_every_column_and_any_text() {
    let table = leaks();
    let identity = web();
    let mut report = report(&table);
    report.processes.iter_mut().for_each(|process| process.identity = &identity);
    let style = csv::Style { headers: true, ..csv::Style::default() };
    let records = csv_of(&report, style);
    assert_eq!(
        records[0].join(","),
        "age,age-is,idle,since,pid,comm,cmd,exe,user,unit,container,pod,fd,local,remote,state,class,\
         verdict,unread,received,sent,netns,cookie,used,limit,direction"
    );
    let first = "200.000;at-least;200.000;2026-11-23T03:06:40.123Z;20167;\u{fffd}[31mevil;\
                 web --name a,\"b\"\u{fffd};/srv/web;www;web.service;;;6 7;127.0.0.1:9005;\
                 127.0.0.1:48814;CLOSE_WAIT;leaked;data-unread;5;499;0;4026531833;96013;9;1024;\
                 connected";
    assert_eq!(records[1].join(";"), first);
    assert_eq!(records.len(), 4);
    assert_eq!(records[2][4..13].join(";"), ";;;;;;;;", "nobody is known");
    let columns = Columns::Only(vec![Column::Pid, Column::Fd]);
    let style = csv::Style { time: true, columns: Some(&columns), rows: Some(1), headers: false };
    assert_eq!(csv_of(&report, style), [["2026-11-23T03:10:00.123Z", "20167", "6 7"]]);
}

/// A spreadsheet computes what begins like a formula, and a process may be named like one.
#[test]
fn no_name_is_a_formula_in_csv() {
    let begins = ["=1+1", "+1", "-bash", "@sum"];
    let scan = (0_u32..).zip(begins).flat_map(|(pid, name)| {
        [process(pid, name), held(pid, 3, &sock(u64::from(pid), 60 - pid))]
    });
    let table = table(&[], scan);
    let identities = begins.map(|name| Identity {
        cmdline: Some(vec![name.to_owned(), "a=b".to_owned()]),
        exe: some(name),
        unit: some(&format!("{name}.service")),
        known: Known::ALL,
        ..Identity::UNKNOWN
    });
    let mut report = tests::report(&table);
    for process in &mut report.processes {
        process.identity = &identities[process.pid as usize];
    }
    let columns =
        Columns::Only(vec![Column::Comm, Column::Cmd, Column::Exe, Column::Unit, Column::Fd]);
    let style = csv::Style { columns: Some(&columns), ..csv::Style::default() };
    let wanted = begins.map(|name| {
        let fields =
            [name.to_owned(), format!("{name} a=b"), name.into(), format!("{name}.service")];
        fields
            .map(|field| format!("'{field}"))
            .into_iter()
            .chain(["3".to_owned()])
            .collect::<Vec<_>>()
    });
    assert_eq!(csv_of(&report, style), wanted);
    let grouped = Grouped::build(&report, GroupBy::Process);
    let text = written(|out| csv::render_groups(&grouped, csv::Style::default(), out));
    assert!(text.lines().all(|line| line.starts_with('\'')), "{text}");
    let actor = Actor { pid: Some(7), comm: "=1+1".to_owned(), exiting: false };
    let event = events::EventRow::new(transition(Some(actor)), None, now());
    let text = written(|out| csv::render_record(&event, false, out));
    assert!(text.contains(",7,'=1+1,"), "{text}");
}

#[test]
fn groups_and_events_are_records_too() {
    let table = leaks();
    let grouped = Grouped::build(&report(&table), GroupBy::Process);
    let style = csv::Style { headers: true, ..csv::Style::default() };
    let text = written(|out| csv::render_groups(&grouped, style, out));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "key,count,oldest,verdicts");
    assert_eq!(lines[1], "\u{fffd}[31mevil[20167],1,200.000,data-unread 1");
    let event = events::EventRow::new(transition(None), None, now());
    let text = written(|out| csv::render_record(&event, true, out));
    let begin = "time,sock,cookie,netns,family,local,remote,old_state,new_state,";
    assert!(text.starts_with(begin) && text.lines().count() == 2, "{text}");
    assert!(text.contains(",CLOSE_WAIT,LAST_ACK,,,,false\n"), "{text}");
}
