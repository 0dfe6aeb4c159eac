//! Whatever the kernel says in whatever order: the table takes it, and every view shows it.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use sockleak::host::clock::Moment;
use sockleak::live::health::Health;
use sockleak::live::table::Table;
use sockleak::report::group::{GroupBy, Grouped};
use sockleak::report::trend::Trend;
use sockleak::report::{Query, Report, Shown};
use sockleak::sock::age::Tick;
use sockleak::sock::decode::decode;
use sockleak::sock::state::StateSet;
use sockleak::view::text::Style;
use sockleak::view::{csv, json, text};

fuzz_target!(|bytes: &[u8]| {
    let mut table = Table::new(StateSet::ALL, Tick { ns: 4_000_000 }, 4);
    let mut trend = Trend::default();
    let mut rest = bytes;
    while let Some((&step, after)) = rest.split_first() {
        rest = after;
        let ktime = u64::from(step) << 24;
        match step % 8 {
            0 => table.begin_scan(ktime),
            1 => table.end_scan(true),
            2 => table.end_scan(false),
            3 => {
                table.forget_exited();
                show(&table, ktime, &mut trend);
            }
            _ => {
                let Ok((record, len)) = decode(rest) else { continue };
                table.absorb(record);
                rest = &rest[len..];
            }
        }
        assert!(table.len() <= 4);
    }
    show(&table, u64::MAX, &mut trend);
});

fn show(table: &Table, ktime: u64, trend: &mut Trend) {
    for shown in [Shown::Leaked, Shown::Stranded, Shown::States(StateSet::ALL)] {
        let query = Query { shown, peer: shown == Shown::Stranded, ..Query::default() };
        show_rows(table, &query, ktime, trend);
    }
}

fn show_rows(table: &Table, query: &Query, ktime: u64, trend: &mut Trend) {
    let now = Moment { ktime, time: SystemTime::UNIX_EPOCH };
    let peers = query.peers(table);
    let mut report = Report::build(table, query, peers.as_ref(), now, Health::default());
    report.add_trend(trend, ktime);
    let style = Style { headers: true, colour: false, time: true, ..Style::default() };
    let mut out = Vec::new();
    text::render(&report, style, &mut out).expect("a Vec takes everything");
    let narrow = Style { width: Some(40), ..style };
    text::render_page(&report, narrow, Some(12), &[], &mut out).expect("likewise");
    csv::render(&report, csv::Style::default(), &mut out).expect("likewise");
    let below = text::hints(&report).into_iter().chain(text::footer(&report));
    below.for_each(|line| out.extend(line.into_bytes()));
    assert!(!out.iter().any(|&byte| byte < b' ' && byte != b'\n'), "a name acts on a terminal");
    json::render_report(&report, &mut out).expect("a Vec takes everything");
    json::render(&Grouped::build(&report, GroupBy::Process), &mut out).expect("likewise");
}
