use super::*;
use crate::sock::conn::{Conn, Endpoint};
use crate::sock::event::{Progress, Sock, SockFlags, Stamps};
use crate::sock::state::State;

const MS: u64 = 1_000_000;
const NOW: u64 = 10_000 * MS;
const RULES: Rules = Rules { min_age: 50 * MS, teardown: 100 * MS, tick: Tick { ns: 4 * MS } };
const PROCESS: ProcessId = ProcessId { pid: 42, start_time: 7 };

fn conn() -> Conn {
    let end = |port| Endpoint::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port);
    Conn { local: end(8080), remote: end(40_000), netns: 1 }
}

/// An accepted socket in CLOSE_WAIT that was dead for so many ms when it was closed, at [`NOW`].
fn dead(milliseconds: u64) -> Dead {
    let progress = Progress { copied_seq: 5, write_seq: 9, snd_una: 9 };
    let flags = SockFlags::CONNECTED | SockFlags::ACCEPTED | SockFlags::PEER_CLOSED;
    let stamps = Stamps {
        ktime: NOW,
        jiffies: 100_000,
        rcv_tstamp: 100_000 - 1_000,
        lrcvtime: 100_000 - 1_000,
        lsndtime: 100_000 - 1_000,
        ..Stamps::default()
    };
    let sock = Sock {
        sock: SockPtr(0x1000),
        conn: conn(),
        cookie: None,
        state: State::CloseWait,
        flags: flags | SockFlags::HAS_SOCKET | SockFlags::HAS_FILE,
        progress,
        unread: 0,
        bytes_received: 6,
        bytes_acked: 1,
        err: 0,
        stamps,
    };
    Dead {
        process: PROCESS,
        program: 3,
        comm: "server".into(),
        uid: 0,
        since: Some(NOW - milliseconds * MS),
        before: progress,
        conn: conn(),
        fd: None,
        waited: 1_000 * MS,
        call: Some(Call { number: nix::libc::SYS_close, args: [6, 0] }),
        is_by_exit: false,
        is_unaccepted: false,
        sock,
    }
}

fn judged(records: impl IntoIterator<Item = Followed>) -> Judged {
    let mut ends = Ends::default();
    let program = |id, before, name: &str| Program {
        id,
        before,
        comm: name.into(),
        args: vec![format!("/bin/{name}"), "-x".into()],
    };
    ends.absorb(Followed::Program(program(2, 0, "shell")));
    ends.absorb(Followed::Program(program(3, 2, "server")));
    records.into_iter().for_each(|record| ends.absorb(record));
    ends.judge(&RULES)
}

fn only(records: impl IntoIterator<Item = Followed>) -> Leak {
    let leaks = judged(records).leaks;
    let [leak] = &leaks[..] else { panic!("{leaks:#?}") };
    leak.clone()
}

#[test]
fn a_close_is_late_unless_its_process_exits_soon() {
    let exit = |ms: u64, waited: u64| Exit {
        process: PROCESS,
        ktime: NOW + ms * MS,
        waited: (1_000 + waited) * MS,
    };
    let exit_after = |ms| [Followed::Closed(dead(300)), Followed::Exit(exit(ms, 0))];
    let late = only([Followed::Closed(dead(300))]);
    assert_eq!((late.ended, late.before_exit), (Ended::Late, None));
    assert_eq!((late.verdict, late.dead_for), (Some(Verdict::EofRead), 300 * MS));
    assert_eq!(
        (&late.fds[..], &late.args[..]),
        (&[6][..], &["/bin/server".to_owned(), "-x".into()][..])
    );
    assert_eq!(only(exit_after(101)).ended, Ended::Late);
    let teardown = only(exit_after(4));
    assert_eq!((teardown.ended, teardown.before_exit), (Ended::AtTeardown, Some(4 * MS)));
    // It could not help that it waited for a CPU.
    let busy = only([Followed::Closed(dead(300)), Followed::Exit(exit(500, 420))]);
    assert_eq!((busy.ended, busy.before_exit), (Ended::AtTeardown, Some(80 * MS)));
    // Another process of the same number is another process.
    let other = Exit { process: ProcessId { start_time: 8, ..PROCESS }, ..exit(0, 0) };
    assert_eq!(only([Followed::Closed(dead(300)), Followed::Exit(other)]).ended, Ended::Late);
}

#[test]
fn exit_names_the_descriptor_that_the_walk_found() {
    let closed = Dead { is_by_exit: true, fd: Some(9), ..dead(300) };
    let leak = only([Followed::Closed(closed)]);
    assert_eq!((leak.ended, leak.by_exec, &leak.fds[..]), (Ended::AtExit, false, &[9][..]));
}

#[test]
fn exec_is_an_exit_of_the_program_before() {
    let call = Some(Call { number: nix::libc::SYS_execve, args: [1, 2] });
    let leak = only([Followed::Closed(Dead { call, ..dead(300) })]);
    assert_eq!((leak.ended, leak.by_exec), (Ended::AtExit, true));
    assert_eq!((&*leak.comm, &*leak.args[0], &leak.fds[..]), ("shell", "/bin/shell", &[][..]));
}

#[test]
fn what_died_lately_or_moves_is_no_leak() {
    assert!(judged([Followed::Closed(dead(49))]).leaks.is_empty());
    // It has sent after the peer's end, 4 s ago, or a moment ago.
    let mut sent = dead(9_000);
    sent.before.write_seq = 1;
    let leak = only([Followed::Closed(sent.clone())]);
    assert!(leak.dead_for < 4_010 * MS, "{leak:?}");
    sent.sock.stamps.lsndtime = sent.sock.stamps.jiffies - 2;
    assert!(judged([Followed::Closed(sent)]).leaks.is_empty());
}

#[test]
fn a_survivor_holds_and_its_listener_keeps() {
    let held = |fd| Followed::Held(Dead { fd: Some(fd), ..dead(300) });
    let leak = only([held(4), held(9)]);
    assert_eq!((leak.ended, &leak.fds[..]), (Ended::StillHeld, &[4, 9][..]));
    assert_eq!(only([held(4), held(4)]).fds, [4], "shown once for each of its threads");
    assert_eq!(only([held(4), Followed::Closed(dead(300))]).ended, Ended::Late);

    let mut queued = Dead { is_unaccepted: true, process: ProcessId::default(), ..dead(300) };
    queued.sock.flags -= SockFlags::HAS_SOCKET | SockFlags::HAS_FILE;
    assert!(judged([Followed::Queued(queued.clone())]).leaks.is_empty(), "whose is it?");
    let listener = Dead { fd: Some(3), ..dead(0) };
    let leak = only([Followed::Queued(queued.clone()), Followed::Listener(listener.clone())]);
    assert_eq!((leak.pid, &*leak.comm, &leak.fds[..]), (42, "server", &[3][..]));
    assert_eq!(leak.verdict, Some(Verdict::NeverAccepted));
    let young = Dead { since: Some(NOW), ..queued };
    let judged = judged([Followed::Queued(young), Followed::Listener(listener)]);
    assert_eq!((judged.leaks.len(), judged.too_young), (0, 1));
}

#[test]
fn a_socket_destroyed_with_its_listener_was_never_accepted() {
    let mut closed = Dead { is_unaccepted: true, is_by_exit: true, ..dead(300) };
    // A listener that is closed takes the addresses of its children away.
    closed.sock.conn.remote.port = 0;
    closed.sock.flags -= SockFlags::HAS_SOCKET | SockFlags::HAS_FILE;
    let leak = only([Followed::Closed(closed)]);
    assert_eq!((leak.verdict, leak.remote.port), (Some(Verdict::NeverAccepted), 40_000));
}

#[test]
fn what_was_reset_is_judged_by_its_error() {
    let mut closed = dead(300);
    closed.sock.state = State::Close;
    closed.sock.flags |= SockFlags::ORPHAN;
    assert_eq!(only([Followed::Closed(closed.clone())]).verdict, Some(Verdict::Dead));
    closed.sock.err = 104;
    assert_eq!(only([Followed::Closed(closed)]).verdict, Some(Verdict::Reset));
}

#[test]
fn stranded_sockets_are_judged_without_an_end() {
    let mut closed = Dead { since: None, is_by_exit: true, fd: Some(5), ..dead(0) };
    closed.sock.state = State::FinWait2;
    closed.sock.flags = SockFlags::CONNECTED | SockFlags::ORPHAN;
    let leak = only([Followed::Closed(closed)]);
    assert_eq!((leak.class, leak.verdict), (Class::Stranded, Some(Verdict::HalfShut)));
    assert_eq!(count_stranded(&[leak]), BTreeMap::from([(Verdict::HalfShut, 1)]));
}

#[test]
fn programs_that_have_ended_and_not_leaked_are_forgotten() {
    let mut ends = Ends::default();
    let program = |id, before| Program { id, before, ..Program::default() };
    let count = MANY_PROGRAMS as u64;
    for id in 1..=count {
        assert!(!ends.has_many_programs());
        ends.absorb(Followed::Program(program(id, id - 1)));
    }
    assert!(ends.has_many_programs());
    // One runs, and one has leaked; what was before them may have closed something at their exec().
    let ended = ends.programs_besides(&HashSet::from([count, count + 7]));
    ends.absorb(Followed::Program(program(count + 1, 5)));
    ends.absorb(Followed::Closed(Dead { program: 40, ..dead(300) }));
    ends.forget_programs(ended);
    let mut left: Vec<_> = ends.programs.into_keys().collect();
    left.sort_unstable();
    assert_eq!(left, [39, 40, count - 1, count, count + 1]);
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let mut ends = Ends::default();
    (0..KEPT + 2).for_each(|_| ends.absorb(Followed::Closed(dead(300))));
    assert_eq!((ends.closed.len(), ends.dropped()), (KEPT, 2));
}
