//! Whatever the order of records, a complete scan heals the table.

use proptest::prelude::*;

use super::*;
use crate::sock::age::STAMP_SLACK_NS;

/// Anything at all about a few sockets.
fn any_record() -> impl Strategy<Value = Record> {
    let sock = (1u64..5, 1_000u64..2_000, 1u64..900, 0u8..3, any::<u16>(), 0u32..3, 0u16..2);
    (0..9, sock, 1u32..4, 1u32..4).prop_map(|(kind, fields, pid, fd)| {
        let (ptr, ms, idle, cookie, bits, unread, err) = fields;
        let flags = SockFlags::from_bits_retain(bits);
        let cookie = NonZeroU64::new(u64::from(cookie));
        let states = [State::CloseWait, State::Close, State::LastAck, State::Established];
        let state = states[fd as usize];
        let mut sock = seen(ptr, ms, idle);
        sock.conn = conn(1000 + (bits & 1));
        (sock.cookie, sock.state, sock.flags) = (cookie, state, flags);
        (sock.unread, sock.err) = (unread, err);
        match kind {
            0 => Record::Held(holder(pid, fd), sock),
            1 => Record::Queued(SockPtr(9), sock),
            2 => Record::Unheld(sock),
            3 => Record::Listener(holder(pid, fd), listener(9, 80)),
            4 => Record::SameFiles(pid, fd),
            5 => Record::Exit(pid, ms),
            6 => Record::Process(pid, Process { start_time: idle, ..Process::default() }),
            _ => {
                let old = states[pid as usize];
                let mut transition = transition(ptr, ms, old, state, flags);
                (transition.conn, transition.cookie, transition.err) = (sock.conn, cookie, err);
                Record::Transition(transition)
            }
        }
    })
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u64),
    Record(Record),
    /// True if it looked everywhere.
    End(bool),
    ForgetExited,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1_000u64..2_000).prop_map(|ms| Step::Begin(ms * MS)),
        8 => any_record().prop_map(Step::Record),
        1 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::ForgetExited),
    ]
}

/// A scan that makes sense: listeners, then who holds what, then what is queued, then the rest.
fn any_scan() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(any_record(), 0..12).prop_map(|records| {
        let order = |record: &Record| match record {
            Record::Listener(..) => 0,
            Record::Held(..) => 1,
            Record::Queued(..) => 2,
            Record::Unheld(..) => 3,
            Record::SameFiles(..) | Record::Process(..) => 4,
            Record::Exit(..) | Record::Transition(_) => 5,
        };
        let mut records = records;
        records.sort_by_key(order);
        records.retain(|record| !matches!(record, Record::Exit(..) | Record::Transition(_)));
        records
    })
}

proptest! {
    /// Events in any order, lost or doubled, and scans in any state of disorder: one complete
    /// scan, and the table is what a new one would be after it. Only of the time of entry may it
    /// know more.
    #[test]
    fn one_complete_scan_heals_everything(
        steps in prop::collection::vec(any_step(), 0..60),
        last in any_scan(),
    ) {
        let (mut table, mut fresh) = (table(), table());
        for step in steps {
            match step {
                Step::Begin(ktime) => table.begin_scan(ktime),
                Step::Record(record) => table.absorb(record),
                Step::End(everywhere) => table.end_scan(everywhere),
                Step::ForgetExited => drop(table.forget_exited()),
            }
        }
        scan(&mut table, 3_000, last.clone());
        scan(&mut fresh, 3_000, last);

        prop_assert_eq!(table.len(), fresh.len());
        prop_assert!(!table.needs_scan(u64::MAX));
        for (sock, expected) in fresh.socks() {
            let tracked = &table.socks[&sock];
            prop_assert_eq!(tracked.conn, expected.conn);
            prop_assert_eq!(tracked.cookie, expected.cookie);
            prop_assert_eq!(tracked.state, expected.state);
            // With no time for idleness, which another history would tell otherwise.
            prop_assert_eq!(tracked.judge(0, 0, false), expected.judge(0, 0, false));
            prop_assert_eq!(tracked.unread_bytes(), expected.unread_bytes());
            prop_assert_eq!(table.holders(tracked), fresh.holders(expected));
            prop_assert!(expected.since.allows(tracked.since.latest));
            prop_assert!(tracked.since.earliest + STAMP_SLACK_NS >= expected.since.earliest);
            prop_assert!(tracked.since.earliest <= tracked.since.latest);
        }
    }
}
