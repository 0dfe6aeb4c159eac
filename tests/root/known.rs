//! `--not`: leaks that are known are in no row, no count and no exit code.

use crate::common::tool::list_text;
use crate::common::{Kind, Leaker, Want, Watch, assert_rows, list};

#[test]
fn what_is_known_does_not_count() {
    let mut leaker = Leaker::start();
    let known = leaker.listen("v4");
    let first = leaker.leak();
    leaker.listen("v4");
    let second = leaker.plant_one(Kind::EofUnread);
    let (first, second) =
        (Want::held(&leaker, &first), Want::held(&leaker, &second).verdict("eof-unread"));
    let port = format!("port={}", known.port());
    let both = format!("{port},verdict=eof-read");
    let neither = format!("{port},verdict=eof-unread");

    for filter in [&port, &both] {
        let report = list(&leaker, &["--not", filter]);
        assert_rows(&report, [second.clone()]);
        assert_eq!(report.process(leaker.pid).unwrap().leaked, 1, "{filter}");
    }
    // A filter takes out what all of its parts fit.
    assert_rows(&list(&leaker, &["--not", &neither]), [first, second]);
    let text = list_text(&leaker, &["--not", &port]);
    assert!(text.text().contains(": 1 leaked"), "{}", text.text());
    let groups = list(&leaker, &["--group-by", "verdict", "--not", &port]).groups;
    assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 1);

    // Given twice, it takes out both.
    let all = ["--not", &port, "--not", "verdict=eof-unread"];
    let ran = list_text(&leaker, &all);
    assert_eq!((ran.code, ran.text()), (Some(0), ""), "{ran:?}");
    let watch = Watch::start(&leaker, &all);
    let (code, last) = watch.stop(nix::sys::signal::Signal::SIGINT);
    assert_eq!((code, last.unwrap().sockets.len()), (Some(0), 0));
}

#[test]
fn what_is_no_filter_is_refused() {
    let leaker = Leaker::start();
    for filter in ["", "port", "port=", "port=many", "verdict=bad-luck", "colour=red"] {
        let ran = list_text(&leaker, &["--not", filter]);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{filter:?}: {ran:?}");
        let about_it = ran.stderr.contains("--not") && !ran.stderr.contains("unexpected argument");
        assert!(about_it, "{filter:?}: {ran:?}");
    }
}
