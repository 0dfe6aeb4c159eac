//! What went wrong with each.

use crate::common::{Kind, Leaker, Want, Watch, assert_rows, has_rows, list};

#[test]
fn one_of_each_in_one_process() {
    let mut leaker = Leaker::listening();
    let read = leaker.plant_one(Kind::EofRead);
    let unread = leaker.plant_one(Kind::EofUnread);
    let data = leaker.plant_one(Kind::DataUnread(5));
    let aborted = leaker.plant_one(Kind::HalfClosed);
    leaker.abort(aborted.peer());
    let queue = leaker.listen("v4");
    let waiting = leaker.plant_one(Kind::NeverAccepted);

    let row = |conn| Want::held(&leaker, conn);
    assert_rows(
        &list(&leaker, &[]),
        [
            row(&read),
            row(&unread).verdict("eof-unread"),
            row(&data).verdict("data-unread").unread(5),
            row(&aborted).verdict("reset").state("CLOSE"),
            Want::queued(&leaker, &waiting, queue.fd),
        ],
    );
}

#[test]
fn unread_bytes_are_counted() {
    let mut leaker = Leaker::listening();
    let mut wants = Vec::new();
    for bytes in [1, 5, 4096, 50_000] {
        let leak = leaker.plant_one(Kind::DataUnread(bytes));
        wants.push(Want::held(&leaker, &leak).verdict("data-unread").unread(bytes as u64));
    }
    assert_rows(&list(&leaker, &[]), wants);
}

#[test]
fn a_verdict_follows_the_program() {
    let mut leaker = Leaker::listening();
    let unread = leaker.plant_one(Kind::EofUnread);
    let data = leaker.plant_one(Kind::DataUnread(7));
    let mut watch = Watch::start(&leaker, &[]);
    let rows = [
        Want::held(&leaker, &unread).verdict("eof-unread"),
        Want::held(&leaker, &data).verdict("data-unread").unread(7),
    ];
    watch.wait_for("the first verdicts", |report| has_rows(report, &rows));
    leaker.drain(unread.fd());
    leaker.drain(data.fd());
    let rows = [Want::held(&leaker, &unread), Want::held(&leaker, &data)];
    watch.wait_for("both read", |report| has_rows(report, &rows));
    assert_rows(&list(&leaker, &[]), rows);
}
