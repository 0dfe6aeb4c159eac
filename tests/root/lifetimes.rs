//! Rows come and go with their sockets and their holders.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Kind, Leaker, Want, Watch, assert_rows, has_rows, list};

fn is_empty(report: &crate::common::Report) -> bool {
    has_rows(report, &[])
}

#[test]
fn closed_leaks_are_gone() {
    let mut leaker = Leaker::listening();
    let leaks = leaker.plant(Kind::EofRead, 4);
    let mut watch = Watch::start(&leaker, &[]);
    leaker.close(leaks[0].fd());
    let left: Vec<_> = leaks[1..].iter().map(|leak| Want::held(&leaker, leak)).collect();
    watch.wait_for("three of four", |report| has_rows(report, &left));
    leaker.close_all();
    watch.wait_for("none", is_empty);
    assert_rows(&list(&leaker, &[]), []);
}

#[test]
fn leaks_that_watch_saw_come_are_gone_when_closed() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let leaks = leaker.plant(Kind::EofUnread, 4);
    watch.wait_for("four", |report| report.sockets.len() == 4);
    leaker.close(leaks[2].fd());
    watch.wait_for("three", |report| report.sockets.len() == 3);
    leaker.close_all();
    watch.wait_for("none", is_empty);
}

#[test]
fn the_only_holder_is_killed() {
    let mut leaker = Leaker::listening();
    let mut victim = leaker.start_beside();
    victim.listen("v4");
    victim.plant(Kind::EofRead, 3);
    let leak = leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    watch.wait_for("all four", |report| report.sockets.len() == 4);
    kill(Pid::from_raw(i32::try_from(victim.pid).unwrap()), Signal::SIGKILL).unwrap();
    let left = [Want::held(&leaker, &leak)];
    watch.wait_for("the other's row alone", |report| has_rows(report, &left));
}

#[test]
fn one_of_two_holders_is_killed() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let child = leaker.fork();
    let mut watch = Watch::start(&leaker, &[]);
    let row = Want::held(&leaker, &leak);
    let both = [row.clone(), row.clone().pid(child)];
    watch.wait_for("both holders", |report| has_rows(report, &both));
    kill(Pid::from_raw(i32::try_from(child).unwrap()), Signal::SIGKILL).unwrap();
    // No transition tells of it: it takes the next scan, which a host with many descriptors delays.
    watch.wait_for("one holder", |report| has_rows(report, std::slice::from_ref(&row)));
}

#[test]
fn a_holder_comes_later() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    let row = Want::held(&leaker, &leak);
    let child = leaker.fork();
    let both = [row.clone(), row.clone().pid(child)];
    watch.wait_for("both holders", |report| has_rows(report, &both));
    leaker.close(leak.fd());
    let heir = [row.pid(child)];
    watch.wait_for("the heir alone", |report| has_rows(report, &heir));
}

#[test]
fn the_holder_exits() {
    let mut watcher = Leaker::listening();
    let mut victim = watcher.start_beside();
    victim.listen("v4");
    let mut watch = Watch::start(&watcher, &[]);
    victim.plant(Kind::EofRead, 3);
    watch.wait_for("three", |report| report.sockets.len() == 3);
    victim.exit();
    watch.wait_for("none", is_empty);
    let leak = watcher.leak();
    let rows = [Want::held(&watcher, &leak)];
    watch.wait_for("a new one", |report| has_rows(report, &rows));
}

#[test]
fn the_holder_executes_another_program() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let mut watch = Watch::start(&leaker, &[]);
    leaker.exec(b"successor");
    let rows = [Want::held(&leaker, &leak)];
    watch.wait_for("the same row", |report| has_rows(report, &rows));
    watch.wait_for("the new name", |report| {
        has_rows(report, &rows)
            && report.only_row().comm.as_deref() == Some("successor")
            && report.processes[0].comm.as_deref() == Some("successor")
    });
    leaker.close(leak.fd());
    watch.wait_for("none", is_empty);
}

/// The program has shut down its side, so the connection has ended in good order; yet the descriptor is
/// open.
#[test]
fn what_has_ended_in_order_stays_a_leak() {
    let mut leaker = Leaker::listening();
    let mut watch = Watch::start(&leaker, &[]);
    let leak = leaker.leak();
    watch.wait_for("a leak", |report| report.sockets.len() == 1);
    leaker.shutdown(leak.fd());
    let rows = [Want::held(&leaker, &leak).state("CLOSE").verdict("dead")];
    watch.wait_for("a dead row", |report| has_rows(report, &rows));
    assert_rows(&list(&leaker, &[]), rows);
}
