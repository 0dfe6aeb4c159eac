//! What the programs report, before any judgement: every candidate for a verdict, and no socket in
//! good health. The sockets are this test's own, in the network namespace of a workload.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use socket2::{Domain, Protocol, Socket, Type};
use sockleak::live::source::Cut;
use sockleak::probe::{Config, Probe};
use sockleak::sock::event::{Holder, Process, Record, Sock, SockFlags, Transition};
use sockleak::sock::state::{State, StateSet};

use crate::common::{Kind, Leaker, allow_locked_memory, not_possible, wait_until};

fn probe(transitions: StateSet) -> Probe {
    allow_locked_memory();
    Probe::open(&Config {
        watched: StateSet::CLOSE_WAIT,
        transitions,
        scans: true,
        ring_size: 1 << 20,
        btf: None,
        kept: &[],
    })
    .unwrap()
}

/// A client and its accepted connection.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// The server's end of a connection whose client went away with an answer unread.
fn reset(listener: &TcpListener) -> TcpStream {
    let (client, mut server) = pair(listener);
    server.write_all(b"answer").unwrap();
    client.peek(&mut [0]).unwrap();
    drop(client);
    server
}

fn tcp_socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap()
}

/// What a scan reports of a network namespace.
#[derive(Default)]
struct Seen {
    /// By the descriptors of this process.
    held: BTreeMap<RawFd, State>,
    queued: Vec<Sock>,
    unheld: Vec<Sock>,
}

fn scan(probe: &mut Probe, netns: u64) -> Seen {
    let mut seen = Seen::default();
    let ours = |sock: &Sock| u64::from(sock.conn.netns) == netns;
    let walked = probe.scan_everything(|record| match record {
        Record::Held(holder, sock) if ours(&sock) && holder.pid == std::process::id() => {
            seen.held.insert(holder.fd.try_into().unwrap(), sock.state);
        }
        Record::Queued(_, sock) if ours(&sock) => seen.queued.push(sock),
        Record::Unheld(sock) if ours(&sock) => seen.unheld.push(sock),
        _ => {}
    });
    assert_eq!(walked.unwrap().cut, Cut::default());
    assert_eq!((probe.queues_lost(), probe.undecodable()), (0, 0));
    assert_eq!(probe.surprises(), []);
    seen
}

#[test]
fn every_candidate_is_reported_and_nothing_in_good_health() {
    let leaker = Leaker::start();
    let netns = leaker.netns;
    leaker.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _healthy = [pair(&listener), pair(&listener)];

        let (client, finished) = pair(&listener);
        drop(client);
        let (other_end, half_shut) = pair(&listener);
        half_shut.shutdown(Shutdown::Write).unwrap();
        let reset_unseen = reset(&listener);
        let mut reset_seen = reset(&listener);
        wait_until("the reset", || reset_seen.read(&mut [0]).is_err());
        // The client's end is full of probes, and the server's of data that nobody reads.
        let (mut flooding, flooded) = pair(&listener);
        flooding.set_nonblocking(true).unwrap();
        while flooding.write(&[0; 1 << 16]).is_ok() {}
        let unconnected = tcp_socket();
        let refused = tcp_socket();
        refused
            .connect(&"127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into())
            .unwrap_err();

        let want = BTreeMap::from([
            (finished.as_raw_fd(), State::CloseWait),
            (half_shut.as_raw_fd(), State::FinWait2),
            (other_end.as_raw_fd(), State::CloseWait),
            (reset_unseen.as_raw_fd(), State::Close),
            (reset_seen.as_raw_fd(), State::Close),
            (flooded.as_raw_fd(), State::Established),
            (unconnected.as_raw_fd(), State::Close),
            (refused.as_raw_fd(), State::Close),
        ]);
        let mut probe = probe(StateSet::NONE);
        wait_until("each candidate, and nothing else", || {
            let mut held = scan(&mut probe, netns).held;
            // It probes now and then.
            held.remove(&flooding.as_raw_fd());
            held == want
        });
    });
}

#[test]
fn whatever_waits_in_a_queue_is_reported() {
    let leaker = Leaker::start();
    let netns = leaker.netns;
    leaker.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _waiting = TcpStream::connect(address).unwrap();
        drop(TcpStream::connect(address).unwrap());
        let impatient =
            socket2::SockRef::from(&TcpStream::connect(address).unwrap()).try_clone().unwrap();
        impatient.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(impatient);

        let mut probe = probe(StateSet::NONE);
        let want = BTreeSet::from([State::Established, State::CloseWait, State::Close]);
        wait_until("the queue", || {
            let queued = scan(&mut probe, netns).queued;
            let states: BTreeSet<_> = queued.iter().map(|sock| sock.state).collect();
            states == want && queued.len() == 3
        });
        // The walk sees those that are in the hash table, whoever has their listener.
        let unheld = scan(&mut probe, netns).unheld;
        let states: BTreeSet<_> = unheld.iter().map(|sock| sock.state).collect();
        assert_eq!(states, BTreeSet::from([State::Established, State::CloseWait]));
    });
}

#[test]
fn a_process_is_counted_by_what_its_descriptors_are() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::Established, 3);
    let leak = leaker.leak();
    leaker.unconnected();
    leaker.threads(3);
    let mut probe = probe(StateSet::NONE);
    let mut found: Option<Process> = None;
    probe
        .scan_files(|record| match record {
            Record::Process(pid, process) if pid == leaker.pid => found = Some(process),
            _ => {}
        })
        .unwrap();
    let found = found.unwrap();
    assert_eq!(usize::try_from(found.open_fds).unwrap(), leaker.open_descriptors().len());
    let of = found.descriptors;
    let connected = 6 + 1 + u32::from(leak.peer.is_some());
    assert_eq!((of.connected, of.listening, of.closed, of.idle), (connected, 1, 1, 0), "{of:?}");
    assert!(!found.stopped && found.start_time > 0);
}

/// Two processes that share a table of descriptors: where the kernel lets us it is read once.
#[test]
fn who_shares_a_table_of_descriptors_holds_the_same() {
    let leaker = Leaker::start();
    leaker.inside(|| {
        let unconnected = tcp_socket();
        let fd = u32::try_from(unconnected.as_raw_fd()).unwrap();
        let mut probe = probe(StateSet::NONE);
        let mut stack = vec![0; 1 << 16];
        #[expect(unsafe_code, reason = "the child has its own memory, and does nothing")]
        let sharer = unsafe {
            let child = Box::new(|| {
                libc::pause();
                0
            });
            clone(child, &mut stack, CloneFlags::CLONE_FILES, Some(libc::SIGCHLD)).unwrap()
        };
        let both = [std::process::id(), sharer.as_raw().cast_unsigned()];
        let (mut holders, mut same, mut processes) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        probe
            .scan_files(|record| match record {
                Record::Held(holder, _) if both.contains(&holder.pid) && holder.fd == fd => {
                    holders.insert(holder.pid);
                }
                Record::SameFiles(pid, other) if both.contains(&pid) => same.push((pid, other)),
                Record::Process(pid, _) if both.contains(&pid) => {
                    processes.insert(pid);
                }
                _ => {}
            })
            .unwrap();
        kill(sharer, Signal::SIGKILL).unwrap();
        waitpid(sharer, None).unwrap();
        match same[..] {
            [] => assert_eq!(holders, BTreeSet::from(both)),
            [(pid, other)] => {
                assert_eq!(holders, BTreeSet::from([other]));
                assert_eq!(BTreeSet::from([pid, other]), BTreeSet::from(both));
            }
            _ => panic!("{same:?}"),
        }
        assert_eq!(processes, BTreeSet::from(both));
    });
}

/// An io_uring, in whose table of files these are.
#[expect(unsafe_code, reason = "no library that we use makes io_urings")]
fn ring_with(files: &[RawFd]) -> Option<OwnedFd> {
    let mut params = [0_u32; 30];
    let count = files.len();
    unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr());
        let ring = OwnedFd::from_raw_fd(i32::try_from(ring).ok().filter(|fd| *fd >= 0)?);
        let register_files = 2;
        let (fd, files) = (ring.as_raw_fd(), files.as_ptr());
        let result = libc::syscall(libc::SYS_io_uring_register, fd, register_files, files, count);
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Some(ring)
    }
}

#[test]
fn what_only_an_io_uring_has_is_reported_with_its_slot() {
    let leaker = Leaker::start();
    let netns = leaker.netns;
    leaker.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, finished) = pair(&listener);
        let (_other_end, healthy) = pair(&listener);
        let reset = reset(&listener);
        drop(client);
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let files = [
            -1,
            finished.as_raw_fd(),
            healthy.as_raw_fd(),
            reset.as_raw_fd(),
            listener.as_raw_fd(),
        ];
        let mut probe = probe(StateSet::NONE);
        let Some(ring) = ring_with(&files).filter(|_| probe.sees_rings()) else {
            not_possible("scans::in_a_ring", "this kernel's io_urings have no table that is known");
            return;
        };
        drop((finished, healthy, reset, listener));

        let ring = u32::try_from(ring.as_raw_fd()).unwrap();
        let want = BTreeMap::from([(1, State::CloseWait), (3, State::Close)]);
        wait_until("both, and the queue", || {
            let (mut slots, mut queued) = (BTreeMap::new(), Vec::new());
            let report = |record| match record {
                Record::Held(Holder { pid, fd, slot: Some(slot) }, sock)
                    if pid == std::process::id() && fd == ring =>
                {
                    slots.insert(slot, sock.state);
                }
                Record::Queued(_, sock) if u64::from(sock.conn.netns) == netns => {
                    queued.push(sock.state);
                }
                _ => {}
            };
            probe.scan_files(report).unwrap();
            assert_eq!(probe.rings_lost(), 0);
            slots == want && queued == [State::CloseWait]
        });
    });
}

/// The transitions of a network namespace that a table is told of.
fn transitions(netns: u64, records: Vec<Record>) -> Vec<Transition> {
    let ours = |record| match record {
        Record::Transition(transition) => {
            (u64::from(transition.conn.netns) == netns).then_some(transition)
        }
        _ => None,
    };
    records.into_iter().filter_map(ours).collect()
}

#[test]
fn a_reset_and_a_half_shutdown_are_told_as_they_happen() {
    let leaker = Leaker::start();
    let netns = leaker.netns;
    leaker.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = probe(StateSet::CLOSE_WAIT);
        probe.attach().unwrap();
        // Nothing of these stays: each end is closed in its turn.
        for _ in 0..10 {
            let (client, server) = pair(&listener);
            drop(server);
            drop(client);
            let (client, mut server) = pair(&listener);
            drop(client);
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
        }
        let server = reset(&listener);
        let (client, relay) = pair(&listener);
        relay.shutdown(Shutdown::Write).unwrap();

        let mut told = Vec::new();
        wait_until("the reset, and the shutdown", || {
            told.extend(transitions(netns, probe.take().unwrap()));
            let is = |new| told.iter().any(|told: &Transition| told.new == new);
            is(State::Close) && is(State::FinWait1)
        });
        let of = |new| told.iter().filter(move |told| told.new == new).collect::<Vec<_>>();
        let [close] = of(State::Close)[..] else { panic!("{told:?}") };
        assert_eq!(close.conn.local.to_string(), server.local_addr().unwrap().to_string());
        assert_eq!((close.old, close.err), (State::Established, 104));
        assert!(close.flags.contains(SockFlags::HAS_FILE) && close.progress.write_seq != 0);
        let [shut] = of(State::FinWait1)[..] else { panic!("{told:?}") };
        assert_eq!(shut.conn.local.to_string(), relay.local_addr().unwrap().to_string());
        assert_eq!(shut.conn.remote.to_string(), client.local_addr().unwrap().to_string());
        let actor = shut.actor.as_ref().unwrap();
        assert_eq!((actor.pid, actor.exiting), (Some(std::process::id()), false));
        assert_eq!(probe.lost(), 0);
    });
}

#[test]
fn an_end_in_good_order_has_its_time() {
    let leaker = Leaker::start();
    let netns = leaker.netns;
    leaker.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = probe(StateSet::CLOSE_WAIT);
        probe.attach().unwrap();
        let (client, server) = pair(&listener);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&server).read(&mut [0]).unwrap(), 0);
        server.shutdown(Shutdown::Write).unwrap();
        let mut told = Vec::new();
        wait_until("the end of both", || {
            told.extend(transitions(netns, probe.take().unwrap()));
            told.iter().filter(|told| told.new == State::Close).count() == 2
        });
        assert!(probe.left_open());
        let ends = told.iter().filter(|told| told.new == State::Close);
        for end in ends {
            assert_eq!(end.err, 0);
            assert!(end.flags.contains(SockFlags::HAS_FILE | SockFlags::CONNECTED), "{end:?}");
        }
    });
}
