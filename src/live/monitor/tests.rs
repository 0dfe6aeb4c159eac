//! That source and table are kept in step, with a source that plays a script.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsFd;

use super::*;
use crate::live::source::{Cut, Losses};
use crate::live::table::tests::{HELD, MS, TICK, enters, holder, leaves, listener, seen};
use crate::sock::conn::SockPtr;
use crate::sock::event::{Process, Record, Sock, SockFlags};
use crate::sock::state::State;

const RULES: Rules = Rules { watched: StateSet::NONE, idle: 60_000 * MS, settle: 1 };

/// A source that does as it was told, and notes what it was asked.
#[derive(Default)]
struct Script {
    calls: RefCell<Vec<String>>,
    /// The records that [`Source::take`] gives, one call after the other.
    events: VecDeque<Vec<Record>>,
    /// The results of scans, one after the other; the last is there to stay.
    worlds: VecDeque<World>,
    losses: Losses,
    left_open: bool,
    reports_exits: bool,
    surprises: Vec<String>,
}

/// The result of a scan.
#[derive(Clone, Default)]
struct World {
    /// With a descriptor, or in a queue.
    files: Vec<Record>,
    /// In the hash tables, without a program.
    unheld: Vec<Record>,
    /// There, with a program.
    passed_over: Vec<SockPtr>,
    cut: Cut,
    /// How many events are lost meanwhile.
    lost: u64,
}

impl Script {
    fn call(&self, what: impl Into<String>) {
        self.calls.borrow_mut().push(what.into());
    }

    /// The result of this call.
    fn begin(&mut self) -> World {
        let world = match self.worlds.len() {
            0 => World::default(),
            1 => self.worlds[0].clone(),
            _ => self.worlds.pop_front().unwrap(),
        };
        self.losses.dropped += world.lost;
        world
    }
}

impl World {
    fn walked(self) -> Walked {
        let Self { passed_over, cut, .. } = self;
        Walked { sums: passed_over.into_iter().collect(), cut, namespaces: None }
    }
}

impl Source for Script {
    type Error = Infallible;

    fn wait(&self, _: BorrowedFd<'_>, _: Duration) -> Result<bool, Infallible> {
        self.call("wait");
        Ok(true)
    }

    fn take(&mut self) -> Result<Vec<Record>, Infallible> {
        self.call("take");
        Ok(self.events.pop_front().unwrap_or_default())
    }

    fn scan_files(&mut self, report: impl FnMut(Record)) -> Result<(), Infallible> {
        self.call("files");
        self.begin().files.into_iter().for_each(report);
        Ok(())
    }

    fn scan_everything(&mut self, mut report: impl FnMut(Record)) -> Result<Walked, Infallible> {
        self.call("everything");
        let world = self.begin();
        world.files.iter().chain(&world.unheld).cloned().for_each(&mut report);
        Ok(world.walked())
    }

    fn scan_ehash(
        &mut self,
        groups: &[usize],
        report: impl FnMut(Record),
    ) -> Result<Walked, Infallible> {
        self.call(format!("walk {groups:?}"));
        let world = self.begin();
        world.unheld.iter().cloned().for_each(report);
        Ok(world.walked())
    }

    fn report_exits(&mut self, yes: bool) {
        self.reports_exits = yes;
    }

    fn losses(&self) -> Losses {
        self.losses
    }

    fn left_open(&self) -> bool {
        self.left_open
    }

    fn set_left_open(&mut self, yes: bool) {
        self.left_open = yes;
    }

    fn surprises(&self) -> Vec<String> {
        self.surprises.clone()
    }

    fn queue_bound(&self) -> u32 {
        100
    }

    fn sees_rings(&self) -> bool {
        false
    }
}

fn monitor(worlds: impl IntoIterator<Item = World>) -> Monitor<Script> {
    let script = Script { worlds: worlds.into_iter().collect(), ..Script::default() };
    Monitor::new(script, RULES, TICK)
}

/// The scans since the last time.
fn scans(monitor: &Monitor<Script>) -> Vec<String> {
    let mut calls = monitor.source.calls.take();
    calls.retain(|call| call != "take");
    calls
}

/// ms before now, on the clock of events.
fn ago(ms: u64) -> u64 {
    clock::ktime() / MS - ms
}

/// In CLOSE_WAIT, with the last packet so long ago.
fn sock(address: u64, idle_ms: u64) -> Sock {
    let mut sock = seen(address, ago(0), idle_ms);
    sock.progress.write_seq = 1;
    sock.progress.snd_una = 1;
    sock
}

fn held(sock: &Sock) -> Record {
    Record::Held(holder(7, 3), sock.clone())
}

fn world(files: impl IntoIterator<Item = Record>) -> World {
    World { files: files.into_iter().collect(), ..World::default() }
}

/// With a socket that a process holds, and that the walk passes over.
fn with(sock: &Sock) -> World {
    World { passed_over: vec![sock.sock], ..world([held(sock)]) }
}

fn reasons(monitor: &Monitor<Script>) -> Vec<&'static str> {
    monitor.health().incomplete.iter().map(Incomplete::reason).collect()
}

#[test]
fn files_of_rings_that_nobody_sees_are_missing() {
    let mut monitor = monitor([]);
    assert_eq!(monitor.health().incomplete, []);
    monitor.expect_rings(2);
    assert_eq!(monitor.health().incomplete, [Incomplete::RingsUnseen(2)]);
}

#[test]
fn the_first_scan_is_of_everything_and_comes_after_the_events() {
    let mut monitor = monitor([with(&sock(1, 5_000))]);
    monitor.source.events.push_back(vec![Record::Transition(enters(1, ago(5_000)))]);
    monitor.refresh().unwrap();
    let calls = monitor.source.calls.take();
    assert_eq!(calls, ["take", "take", "everything"]);
    let (_, tracked) = monitor.table.get(0).unwrap();
    assert_eq!(monitor.table.holders(tracked), [holder(7, 3)]);
    assert!(tracked.since.is_exact(), "the event is older than the scan, and tells since when");
    assert!(reasons(&monitor).is_empty());
    assert!(monitor.health().scanned > 0);
}

#[test]
fn events_that_were_lost_are_made_up_for_by_the_next_scan() {
    let leaked = sock(1, 5_000);
    let mut monitor = monitor([World::default(), with(&leaked)]);
    monitor.refresh().unwrap();
    scans(&monitor);
    monitor.source.losses.dropped = 3;
    monitor.source.losses.skipped = 2;
    assert_eq!(monitor.health().incomplete, [Incomplete::EventsLost(5)]);
    assert_eq!(monitor.needs().reason(), Reason::Urgent);
    monitor.refresh().unwrap();
    assert_eq!(scans(&monitor), ["everything"], "at once, and of everything");
    assert!(reasons(&monitor).is_empty());
    assert_eq!(monitor.health().lost_events, 5, "since the start");
    assert_eq!(monitor.table.len(), 1);
}

#[test]
fn what_is_lost_during_a_scan_is_left_to_the_next() {
    let mut monitor = monitor([World { lost: 4, ..World::default() }, World::default()]);
    monitor.source.losses.dropped = 3;
    monitor.refresh().unwrap();
    assert_eq!(monitor.health().incomplete, [Incomplete::EventsLost(4)], "since the last scan");
    assert_eq!(monitor.health().lost_events, 7);
    monitor.refresh().unwrap();
    assert!(reasons(&monitor).is_empty());
}

#[test]
fn events_are_followed_until_the_end() {
    let mut monitor = monitor([]);
    let stop = File::open("/dev/null").unwrap();
    let passed = vec![enters(1, ago(600)), leaves(1, ago(500)), enters(2, ago(400))];
    monitor.source.events.push_back(passed.into_iter().map(Record::Transition).collect());
    // `stop` is readable at once: what has come until then counts.
    assert!(monitor.follow(stop.as_fd(), Duration::from_secs(9)).unwrap());
    assert_eq!(monitor.source.calls.take(), ["wait", "take"]);
    assert_eq!(monitor.table.socks().map(|(sock, _)| sock).collect::<Vec<_>>(), [SockPtr(2)]);
}

#[test]
fn what_a_scan_of_files_misses_is_walked_for() {
    let followed = sock(1, 5_000);
    let mut monitor = monitor([with(&followed), World::default()]);
    monitor.scan(true).unwrap();
    scans(&monitor);
    monitor.scan(false).unwrap();
    assert_eq!(scans(&monitor), ["files", "walk []"]);
    assert!(monitor.table.is_empty());
    monitor.scan(false).unwrap();
    assert_eq!(scans(&monitor), ["files"], "nothing is missing any more");
}

#[test]
fn what_no_event_follows_is_not_walked_for() {
    let dead = Sock { state: State::Close, ..sock(1, 5_000) };
    let mut monitor = monitor([world([held(&dead)]), World::default()]);
    monitor.scan(true).unwrap();
    scans(&monitor);
    monitor.scan(false).unwrap();
    assert_eq!(scans(&monitor), ["files"]);
    assert!(monitor.table.is_empty());
}

#[test]
fn sums_that_differ_are_walked_for_once_more_group_by_group() {
    let (known, flying) = (sock(0x1000, 5_000), sock(0x2800, 5_000));
    let sums = vec![known.sock, flying.sock];
    let first = World { passed_over: sums.clone(), ..world([held(&known)]) };
    let unheld = vec![Record::Unheld(flying.clone())];
    let mut monitor = monitor([first, World { passed_over: sums, unheld, ..World::default() }]);
    monitor.scan(true).unwrap();
    assert_eq!(scans(&monitor), ["everything", "walk [2]"]);
    assert_eq!(monitor.table.len(), 2);
    assert!(monitor.table.has_missing_owners());
}

#[test]
fn sums_that_agree_need_no_second_walk() {
    let (queued, held_one) = (sock(0x3000, 5_000), sock(0x1000, 5_000));
    let unheld = vec![Record::Unheld(Sock { flags: HELD - SockFlags::HAS_SOCKET, ..queued })];
    let mut monitor = monitor([World { unheld, ..with(&held_one) }]);
    monitor.scan(true).unwrap();
    assert_eq!(scans(&monitor), ["everything"]);
    assert_eq!(monitor.table.len(), 2);
}

fn look_twice(monitor: &mut Monitor<Script>) -> Option<Duration> {
    let mut waited = None;
    monitor.look_twice(|time| waited = Some(time)).unwrap();
    waited
}

#[test]
fn one_look_will_do_where_nothing_is_in_doubt() {
    for quiet in [World::default(), with(&sock(1, 5_000))] {
        let mut monitor = monitor([quiet]);
        assert_eq!(look_twice(&mut monitor), None);
        assert_eq!(scans(&monitor), ["everything"]);
    }
}

#[test]
fn what_is_gone_or_has_moved_at_the_second_look_is_dropped() {
    let (gone, moved, stays) = (sock(0x1000, 10), sock(0x2000, 10), sock(0x3000, 10));
    let mut later = moved.clone();
    later.progress.copied_seq += 1;
    let all = [&gone, &moved, &stays].map(|sock| sock.sock).to_vec();
    let first = World { passed_over: all.clone(), ..world([&gone, &moved, &stays].map(held)) };
    let second = World { passed_over: all[1..].to_vec(), ..world([&later, &stays].map(held)) };
    let mut monitor = monitor([first, second]);
    assert_eq!(look_twice(&mut monitor), Some(Duration::from_nanos(RULES.settle)));
    assert_eq!(scans(&monitor), ["everything", "everything"]);
    let now = clock::ktime();
    let settled = monitor.table.socks().filter(|(_, tracked)| tracked.has_settled(now, 1));
    assert_eq!(settled.map(|(sock, _)| sock).collect::<Vec<_>>(), [stays.sock]);
}

#[test]
fn a_watch_begins_with_a_second_look_where_there_is_doubt() {
    let stop = File::open("/dev/null").unwrap();
    for (idle_ms, looks) in [(500, 2), (5_000, 1)] {
        let mut monitor = monitor([with(&sock(1, idle_ms))]);
        let stopped = monitor.begin(stop.as_fd()).unwrap();
        assert_eq!(stopped, looks == 2, "it has not waited without need");
        let calls = scans(&monitor);
        assert_eq!(
            calls.iter().filter(|call| *call == "everything" || *call == "files").count(),
            looks
        );
        assert!(!monitor.table.is_in_doubt(clock::ktime(), RULES.settle));
    }
}

#[test]
fn a_look_is_repeated_while_owners_are_missing_but_not_for_ever() {
    let flying = sock(0x1000, 5_000);
    let in_flight = World { unheld: vec![Record::Unheld(flying.clone())], ..World::default() };
    let mut found = monitor([in_flight.clone(), with(&flying)]);
    look_twice(&mut found);
    assert_eq!(scans(&found), ["everything"; 2]);
    assert!(!found.table.has_missing_owners());

    let mut missing = monitor([in_flight]);
    look_twice(&mut missing);
    assert_eq!(scans(&missing), ["everything"; ATTEMPTS]);
    assert_eq!(missing.table.len(), 1);
}

/// Uses the whole budget up.
fn exhaust(monitor: &mut Monitor<Script>) {
    (0..2).for_each(|_| monitor.schedule.charge(clock::monotonic(), Duration::from_secs(60)));
}

#[test]
fn a_scan_that_has_to_wait_for_its_budget_makes_the_answer_incomplete() {
    let mut monitor = monitor([with(&sock(1, 5_000))]);
    exhaust(&mut monitor);
    monitor.refresh().unwrap();
    assert!(reasons(&monitor).is_empty(), "nothing is urgent");
    monitor.source.events.push_back(vec![Record::Transition(enters(1, ago(500)))]);
    monitor.refresh().unwrap();
    assert!(scans(&monitor).is_empty());
    assert_eq!(reasons(&monitor), ["scan-overdue"]);
    // The budget is there again.
    monitor.schedule = Schedule::default();
    monitor.refresh().unwrap();
    assert!(reasons(&monitor).is_empty());
}

#[test]
fn exits_are_reported_while_there_are_holders() {
    let holder = Record::Process(7, Process { start_time: 5, ..Process::default() });
    let held = world([held(&sock(1, 5_000)), holder]);
    let mut monitor = monitor([held, World::default()]);
    assert!(!monitor.source.reports_exits);
    monitor.refresh().unwrap();
    assert!(monitor.source.reports_exits);
    // However dear scans are, the dead hold nothing; and the answer says what it lacks.
    exhaust(&mut monitor);
    monitor.source.events.push_back(vec![Record::Exit(7, 5)]);
    monitor.refresh().unwrap();
    let (_, tracked) = monitor.table.get(0).unwrap();
    assert!(monitor.table.holders(tracked).is_empty());
    assert_eq!(reasons(&monitor), ["scan-overdue"]);
    monitor.schedule = Schedule::default();
    monitor.refresh().unwrap();
    assert!(monitor.table.is_empty() && reasons(&monitor).is_empty());
    assert!(!monitor.source.reports_exits);
}

#[test]
fn what_is_caught_between_its_end_and_its_close_is_left_to_another_scan() {
    let ending = Sock { state: State::Close, ..sock(1, 10) };
    let mut monitor = monitor([world([held(&ending)])]);
    monitor.refresh().unwrap();
    assert!(monitor.table.is_empty() && monitor.source.left_open);
    assert_eq!(monitor.needs().reason(), Reason::Pending);
}

#[test]
fn reasons_for_scans() {
    let reason = |world| {
        let mut monitor = monitor([world]);
        monitor.refresh().unwrap();
        monitor.needs().reason()
    };
    assert_eq!(reason(World::default()), Reason::Idle);
    assert_eq!(reason(with(&sock(1, 5_000))), Reason::Audit);
    let half_shut = |idle_ms| Sock {
        state: State::FinWait2,
        flags: HELD | SockFlags::SHUT_SEND,
        ..sock(1, idle_ms)
    };
    assert_eq!(reason(with(&half_shut(5_000))), Reason::Pending, "it may become idle");
    assert_eq!(reason(with(&half_shut(70_000))), Reason::Audit);
}

#[test]
fn what_a_scan_could_not_see_makes_the_answer_incomplete() {
    let mut queue = listener(9, 80);
    queue.backlog = 101;
    let mut short = listener(10, 81);
    short.backlog = 100;
    let world = World {
        cut: Cut { by_kernel: true, strayed: 4, overlong: 5 },
        ..world([&queue, &short].map(|queue| Record::Listener(holder(7, 3), queue.clone())))
    };
    let mut monitor = monitor([world, World::default()]);
    monitor.source.surprises.push("struct sock".to_owned());
    monitor.source.losses = Losses { queued: 2, undecodable: 3, ..Losses::default() };
    monitor.scan(true).unwrap();
    let expected = [
        Incomplete::RecordsUnreadable(3),
        Incomplete::QueuesTruncated(2),
        Incomplete::QueueTruncated { listener: queue.conn.local, netns: 1, bound: 100 },
        Incomplete::WalkTruncated,
        Incomplete::WalkStrayed(4),
        Incomplete::ChainOverlong(5),
        Incomplete::UnknownKernel("struct sock".to_owned()),
    ];
    assert_eq!(monitor.health().incomplete, expected);
    monitor.scan(false).unwrap();
    assert!(reasons(&monitor).contains(&"walk-truncated"), "no walk since");
    monitor.scan(true).unwrap();
    assert_eq!(reasons(&monitor), ["records-unreadable", "queues-truncated", "unknown-kernel"]);
}
