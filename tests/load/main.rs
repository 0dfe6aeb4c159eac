//! Many sockets, fast ones, and a tool that cannot keep up. Apart from tests/root, because cargo runs
//! one test program after the other, and one after the other in here: these need the machine. (They are
//! right beside others too, only slower.)

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use common::lines::Running;
use common::terminal::{Shown, pages, plain};
use common::tool::{binary, sockleak};
use common::{
    DEADLINE, Kind, Leaker, Report, Want, Watch, assert_rows, has_rows, list, not_possible,
    wait_until,
};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// So many connections that the time is up first.
const NO_LIMIT: usize = 1 << 40;

/// One at a time, also after one has failed.
fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn held(leaker: &Leaker, conns: &[common::Conn]) -> Vec<Want> {
    conns.iter().map(|conn| Want::held(leaker, conn)).collect()
}

#[test]
fn forty_thousand_leaks_in_four_processes() {
    let _turn = my_turn();
    let mut first = Leaker::listening();
    let mut others = [first.start_beside(), first.start_beside(), first.start_beside()];
    let mut wants = Vec::new();
    let mut plant = |leaker: &mut Leaker| {
        leaker.listen("v4");
        let leaks = leaker.plant(Kind::EofRead, 10_000);
        wants.extend(held(leaker, &leaks));
    };
    plant(&mut first);
    others.iter_mut().for_each(&mut plant);
    let report = list(&first, &[]);
    assert_rows(&report, wants);
    assert_eq!(report.processes.len(), 4);
    assert!(report.processes.iter().all(|process| process.leaked == 10_000));
}

/// On a terminal of 80×24 a refresh writes less than 4 KiB.
#[test]
fn a_hundred_thousand_leaks_in_six_processes_on_a_small_terminal() {
    const EACH: usize = 16_667;
    let _turn = my_turn();
    let first = Leaker::start();
    let others = [(); 5].map(|()| first.start_beside());
    let mut leakers: Vec<_> = [first].into_iter().chain(others).collect();
    for leaker in &mut leakers {
        leaker.listen("v4");
        leaker.plant(Kind::EofRead, EACH);
    }
    let netns = leakers[0].netns.to_string();
    let Some(mut watch) = Shown::start(&["watch", "--netns", &netns], true) else {
        return not_possible("a_hundred_thousand_leaks_in_six_processes", "no pseudo-terminals");
    };
    watch.until("four pages", |text| pages(text).len() > 4);
    let text = watch.stop().1;
    for page in pages(&text) {
        assert!(page.len() < 4_096, "{} bytes: {page:?}", page.len());
        for leaker in &leakers {
            let who = format!(" leaker[{}]", leaker.pid);
            let line = page.lines().map(plain).find(|line| line.contains(&who)).unwrap();
            assert!(line.trim_start().starts_with("16,667 "), "{line}");
        }
        assert!(page.contains("… 99,9") || page.contains("… 100,0"), "{page}");
    }
}

/// Stopped for five seconds, while connections come and go and the ring overflows or not.
#[test]
fn stopped_under_load_and_continued() {
    let _turn = my_turn();
    let mut leaker = Leaker::listening();
    let mut kept = leaker.plant(Kind::EofRead, 10);
    let doomed = leaker.plant(Kind::EofRead, 10);
    let mut watch = Watch::start(&leaker, &[]);
    watch.process.signal(Signal::SIGSTOP);
    leaker.churn(NO_LIMIT, 4000);
    for leak in &doomed {
        leaker.close(leak.fd());
    }
    kept.extend(leaker.plant(Kind::EofRead, 50));
    leaker.churn(NO_LIMIT, 1000);
    watch.process.signal(Signal::SIGCONT);
    let wants = held(&leaker, &kept);
    watch.wait_for("the truth", |report| has_rows(report, &wants));
    assert_rows(&list(&leaker, &[]), wants);
}

/// Reads on until a report has exactly these rows and calls itself complete again. Connections of others may
/// still overflow the ring: as long as they do, the report has to say so.
fn heal(watch: &mut Watch, wants: &[Want]) -> Report {
    let mut lost = watch.next().lost_events;
    let end = Instant::now() + DEADLINE;
    loop {
        let report = watch.next();
        let honest = if report.lost_events > lost { !report.complete } else { report.complete };
        if honest && has_rows(&Report { complete: true, ..report.clone() }, wants) {
            return report;
        }
        lost = report.lost_events;
        let rows = report.sockets.len();
        assert!(Instant::now() < end, "{rows} rows, {} wanted; {lost} events lost", wants.len());
    }
}

/// A ring of one page holds some thirty records, and 4,096 entries can be held back. While the tool is stopped, the
/// rest is lost for certain.
#[test]
fn a_tiny_ring_loses_and_heals() {
    let _turn = my_turn();
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &["--ring-size", "4KiB"]);
    watch.process.signal(Signal::SIGSTOP);
    let mut kept = leaker.plant(Kind::EofRead, 10_000);
    for gone in kept.drain(..1000) {
        leaker.close(gone.fd());
    }
    watch.process.signal(Signal::SIGCONT);
    let wants = held(&leaker, &kept);
    let healed = heal(&mut watch, &wants);
    assert!(healed.lost_events > 0, "the loss has to be told");
    let ages = healed.sockets.iter().map(|row| row.age_is.as_str());
    assert!(ages.clone().any(|age| age == "at-least"), "not all were seen to begin");
    let (code, last) = watch.stop(Signal::SIGINT);
    match last {
        Some(last) => assert_eq!(code, Some(if last.complete { 1 } else { 4 })),
        None => assert!(matches!(code, Some(1 | 4)), "{code:?}"),
    }
}

/// What `events` has missed cannot be healed, only told.
#[test]
fn lost_events_are_told() {
    let _turn = my_turn();
    let mut leaker = Leaker::listening();
    let mut command = Command::new(binary());
    let netns = leaker.netns.to_string();
    command.args(["events", "--ring-size", "4KiB", "--netns", &netns]).stdin(Stdio::null());
    let mut events = Running::start(&mut command);
    events.line(DEADLINE).expect("a header, once it is ready");
    events.signal(Signal::SIGSTOP);
    assert_eq!(leaker.churn(1000, 60_000), 1000);
    events.signal(Signal::SIGCONT);
    wait_until("a word on what is lost", || {
        // Some of these may be lost, too.
        leaker.churn(1, 1000);
        !events.stderr().is_empty()
    });
    events.signal(Signal::SIGINT);
    assert_eq!(events.end(DEADLINE).code(), Some(4));
    assert!(events.stderr().contains("lost"), "{}", events.stderr());
    assert!(events.stderr().contains("--ring-size"), "{}", events.stderr());
}

/// A ring of one page again, but no stop: whatever is lost or not, the end is right, and no report that lacks events
/// calls itself complete.
#[test]
fn a_tiny_ring_under_three_thousand_connections() {
    let _turn = my_turn();
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &["--ring-size", "4KiB"]);
    let leaks = leaker.plant(Kind::EofUnread, 3000);
    let wants: Vec<_> =
        held(&leaker, &leaks).into_iter().map(|row| row.verdict("eof-unread")).collect();
    let report = heal(&mut watch, &wants);
    let unseen = report.sockets.iter().filter(|row| row.age_is != "exact").count();
    assert!(unseen == 0 || report.lost_events > 0, "{unseen} were missed, and nothing is lost?");
    leaker.close_all();
    heal(&mut watch, &[]);
}

#[test]
fn a_hundred_leaks_beside_connections_that_come_and_go() {
    let _turn = my_turn();
    let mut leaker = Leaker::listening();
    let mut busy = leaker.start_beside();
    busy.listen("v4");
    let mut watch = Watch::start(&leaker, &[]);
    let mut leaks = Vec::new();
    for _ in 0..10 {
        leaks.extend(leaker.plant(Kind::EofRead, 10));
        assert!(busy.churn(20_000, 1_000) > 0);
    }
    let wants = held(&leaker, &leaks);
    let report = watch.wait_for("exactly the hundred", |report| has_rows(report, &wants));
    assert!(report.lost_events > 0 || report.all_ages_are("exact"), "{}", report.lost_events);
    assert_rows(&list(&leaker, &[]), wants);
}

/// Connections that threads open and close as fast as they can. Both ends shut down before they close.
#[derive(Default)]
struct Rush {
    stop: AtomicBool,
    made: AtomicUsize,
}

impl Rush {
    /// Begins in the network namespace of the current thread. The ends of a connection share a CPU.
    fn begin() -> Arc<Self> {
        let rush = Arc::new(Self::default());
        let this_thread = Pid::from_raw(0);
        let all = sched_getaffinity(this_thread).unwrap();
        let cpus = (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap());
        for cpu in cpus.cycle().take(8) {
            let mut only = CpuSet::new();
            only.set(cpu).unwrap();
            sched_setaffinity(this_thread, &only).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.read(&mut [0]);
                }
            });
            let rush = Arc::clone(&rush);
            thread::spawn(move || {
                while !rush.stop.load(Relaxed) {
                    // For a moment there may be no free port.
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = stream.read(&mut [0]);
                    rush.made.fetch_add(1, Relaxed);
                }
            });
        }
        rush
    }

    /// Waits until it has made so many more.
    fn wait_for(&self, count: usize) {
        let before = self.made.load(Relaxed);
        wait_until("connections are made", || self.made.load(Relaxed) >= before + count);
    }
}

/// Events may come faster than they can be read: nobody waits until there are none.
#[test]
fn reports_come_beside_connections_as_fast_as_they_can() {
    let _turn = my_turn();
    let leaker = Leaker::listening();
    // A TIME_WAIT would keep a port.
    leaker.sysctl("ipv4/tcp_max_tw_buckets", "0").unwrap();
    let rush = leaker.inside(Rush::begin);
    rush.wait_for(1000);
    let mut watch = Watch::start(&leaker, &[]);
    for _ in 0..10 {
        watch.next();
        rush.wait_for(1);
    }
    rush.stop.store(true, Relaxed);
}

/// The resident memory of a process in KiB.
fn resident_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What it costs in CPU time is for `make bench` to say: on a shared host a test cannot.
#[test]
fn watching_takes_no_more_memory_while_nothing_happens() {
    let _turn = my_turn();
    let leaker = Leaker::listening();
    // Connections of others would fill a larger ring, which is mapped twice.
    let mut watch = Watch::start(&leaker, &["--ring-size", "64KiB"]);
    let pid = watch.process.pid();
    let mut resident_later = || {
        for _ in 0..20 {
            watch.next();
        }
        resident_memory(pid)
    };
    // Other leaks on this host are not nothing: the tool has to remember them, and look after them. Some come
    // and go meanwhile, so it has three tries.
    let mut grows = || {
        let (first, last) = (resident_later(), resident_later());
        let elsewhere = sockleak(&["list", "--json"]).report().sockets.len();
        println!("{first} KiB, then {last}; {elsewhere} other leaks");
        last >= first + 1_000 + elsewhere
    };
    assert!((0..3).any(|_| !grows()), "each time it takes more");
}
