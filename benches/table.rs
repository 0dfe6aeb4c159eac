//! Measures the part without BPF: for each socket decode, table, report and views, with synthetic
//! events; and for each process who it is, with real ones.
//!
//! The memory of the table is read once, before anything else has used any, and is written beside
//! Criterion's own results.

#![allow(missing_docs, reason = "criterion_group! makes public functions")]

use std::env;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use sockleak::host::clock::Moment;
use sockleak::host::identity::{AT_ONCE, Identities, Named};
use sockleak::live::health::Health;
use sockleak::live::table::Table;
use sockleak::report::{Query, Report};
use sockleak::sock::age::Tick;
use sockleak::sock::conn::{Conn, Endpoint, SockPtr};
use sockleak::sock::decode::decode;
use sockleak::sock::event::{
    Actor, Holder, Process, Progress, Record, Sock, SockFlags, Stamps, Transition,
};
use sockleak::sock::state::{State, StateSet};
use sockleak::view::json;
use sockleak::view::text::{self, Style};

const SOCKETS: u32 = 1_000_000;
const PROCESSES: u32 = 10;
const NOW: u64 = 3_600_000_000_000;

fn conn(index: u32) -> Conn {
    let v4 = |low: [u8; 4]| {
        let mut addr = [0; 16];
        addr[10..12].fill(0xff);
        addr[12..].copy_from_slice(&low);
        addr
    };
    let [_, a, b, c] = index.to_be_bytes();
    Conn {
        local: Endpoint::new(v4([10, 0, 0, 1]), 443),
        remote: Endpoint::new(v4([10, 1 + a, b, c]), 40_000),
        netns: 4_026_531_840,
    }
}

/// Addresses are as far apart as the kernel's: by the size of a socket.
fn pointer(index: u32) -> SockPtr {
    SockPtr(0xffff_8881_0000_0000 + u64::from(index) * 2_496)
}

/// `SOCK_HAS_SOCKET`, `SOCK_HAS_FILE`, `SOCK_PEER_CLOSED` and `SOCK_CONNECTED` of `sockleak.h`.
const FLAGS: SockFlags = SockFlags::HAS_SOCKET
    .union(SockFlags::HAS_FILE)
    .union(SockFlags::PEER_CLOSED)
    .union(SockFlags::CONNECTED);

fn held(index: u32) -> Record {
    let holder = Holder::at(1_000 + index % PROCESSES, 5 + index / PROCESSES);
    let sock = Sock {
        sock: pointer(index),
        conn: conn(index),
        cookie: None,
        state: State::CloseWait,
        flags: FLAGS,
        progress: Progress::default(),
        unread: index % 3,
        bytes_received: 0,
        bytes_acked: 0,
        err: 0,
        stamps: Stamps {
            ktime: NOW,
            jiffies: 900_000,
            mstamp: 1_000_000 + u64::from(index),
            rcv_tstamp: 250_000,
            lrcvtime: 250_000,
            lsndtime: 250_000,
            ..Stamps::default()
        },
    };
    Record::Held(holder, sock)
}

fn process(pid: u32) -> Record {
    let process = Process {
        comm: "leaker".into(),
        open_fds: SOCKETS / PROCESSES,
        fd_limit: 1 << 20,
        ..Process::default()
    };
    Record::Process(1_000 + pid, process)
}

fn transition(index: u32, old: State, new: State, ktime: u64) -> Transition {
    Transition {
        ktime,
        sock: pointer(index),
        conn: conn(index),
        cookie: None,
        old,
        new,
        flags: FLAGS,
        progress: Progress::default(),
        err: 0,
        actor: (old == State::CloseWait).then(|| Actor {
            pid: Some(1_000),
            comm: "leaker".to_owned(),
            exiting: false,
        }),
    }
}

fn empty() -> Table {
    let tick = Tick { ns: 4_000_000 };
    Table::new(StateSet::CLOSE_WAIT, tick, SOCKETS as usize)
}

/// Fills the table as a scan does.
fn scan(table: &mut Table) {
    table.begin_scan(NOW);
    for index in 0..SOCKETS {
        table.absorb(held(index));
    }
    for pid in 0..PROCESSES {
        table.absorb(process(pid));
    }
    table.end_scan(true);
}

/// Fills the table as events do.
fn enter(table: &mut Table) {
    for index in 0..SOCKETS {
        table.apply(transition(index, State::Established, State::CloseWait, 1));
    }
}

fn report(table: &Table) -> Report<'_> {
    let now = Moment { ktime: NOW + 1_000_000_000, time: SystemTime::UNIX_EPOCH };
    Report::build(table, &Query::default(), None, now, Health::default())
}

fn full() -> Table {
    let mut table = empty();
    scan(&mut table);
    table
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.sample_size(10).throughput(Throughput::Elements(SOCKETS.into()));
    // Criterion drops the table that an iteration returns outside its time.
    group.bench_function("insert by events", |bencher| {
        bencher.iter_batched(
            empty,
            |mut table| {
                enter(&mut table);
                table
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("insert by a scan", |bencher| {
        bencher.iter_batched(
            empty,
            |mut table| {
                scan(&mut table);
                table
            },
            BatchSize::PerIteration,
        );
    });
    let mut known = full();
    group.bench_function("scan again", |bencher| bencher.iter(|| scan(&mut known)));
    drop(known);
    group.bench_function("remove by events", |bencher| {
        let leave = |mut table: Table| {
            for index in 0..SOCKETS {
                let ktime = NOW + 1_000_000_000;
                table.apply(transition(index, State::CloseWait, State::LastAck, ktime));
            }
            assert!(table.is_empty());
            table
        };
        bencher.iter_batched(full, leave, BatchSize::PerIteration);
    });
    group.finish();
}

fn views(criterion: &mut Criterion) {
    let table = full();
    let mut group = criterion.benchmark_group("views");
    group.sample_size(10).throughput(Throughput::Elements(SOCKETS.into()));
    group.bench_function("report", |bencher| bencher.iter_with_large_drop(|| report(&table)));
    let report = report(&table);
    assert_eq!(report.sockets.len(), SOCKETS as usize);
    group.bench_function("JSON", |bencher| {
        bencher.iter(|| json::render_report(&report, &mut io::sink()));
    });
    group.bench_function("text", |bencher| {
        bencher.iter(|| text::render(&report, Style::default(), &mut io::sink()));
    });
    group.finish();
}

/// Decodes a record of each kind that comes by the thousand. All bytes but the kind are a valid
/// state, so that the states are valid, whatever the layout.
fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    for (name, kind) in [("transition", 1_u32), ("held socket", 2)] {
        let mut bytes = [State::CloseWait as u8; 256];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        assert!(decode(&bytes).is_ok(), "{name}");
        group.bench_with_input(BenchmarkId::from_parameter(name), &bytes, |bencher, bytes| {
            bencher.iter(|| decode(black_box(bytes)));
        });
    }
    group.finish();
}

/// Reads who a thousand real processes are: as many as are read for one report.
fn identities(criterion: &mut Criterion) {
    let start = || Command::new("sleep").arg("infinity").spawn();
    let mut children: Vec<_> = (0..AT_ONCE).filter_map(|_| start().ok()).collect();
    assert_eq!(children.len(), AT_ONCE, "not enough processes may run");
    let started: Vec<_> = children.iter().filter_map(|child| start_boottime(child.id())).collect();
    let named = || {
        let both = children.iter().zip(&started);
        both.map(|(child, &start_boottime)| Named {
            pid: child.id(),
            start_boottime,
            comm: "sleep",
            uid: 0,
        })
    };
    let read = |mut identities: Identities| {
        identities.begin();
        assert!(identities.read(named()));
        identities
    };
    let new = || Identities::new("/var/log/pods".into());
    let known = read(new());
    let is_known = |one: Named<'_>| {
        known.get(one.pid, one.start_boottime).is_some_and(|identity| identity.exe.is_some())
    };
    assert!(named().all(is_known), "a process has not been found");
    let mut group = criterion.benchmark_group("identities");
    group.sample_size(10).throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("read", |bencher| {
        bencher.iter_batched(new, read, BatchSize::PerIteration);
    });
    let mut known = Some(known);
    group.bench_function("read before", |bencher| bencher.iter(|| known = known.take().map(read)));
    group.finish();
    for child in &mut children {
        // One that has ended by itself is gone, too.
        let _ = child.kill().and_then(|()| child.wait());
    }
}

/// When a process began, as the kernel tells it: /proc has ticks of a hundredth of a second.
fn start_boottime(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().nth(19)?.parse::<u64>().ok()? * 10_000_000)
}

/// Resident memory of this process, in bytes.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok();
    let kib: Option<u64> = status.lines().find_map(kib);
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}

fn note_memory() -> io::Result<()> {
    let before = resident()?;
    let table = full();
    let bytes = resident()? - before;
    black_box(&table);
    let per_socket = bytes as f64 / f64::from(SOCKETS);
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = Path::new(&target).join("criterion");
    fs::create_dir_all(&folder)?;
    let note = format!("{{\"sockets\":{SOCKETS},\"bytes_per_socket\":{per_socket:.1}}}\n");
    // `make bench` reads it there.
    fs::write(folder.join("table-memory.json"), note)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    targets = decoding, tables, views, identities
}

fn main() -> io::Result<()> {
    note_memory()?;
    benches();
    Criterion::default().configure_from_args().final_summary();
    Ok(())
}
