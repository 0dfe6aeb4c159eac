//! Sockets that were never connected, or are not any more, and the descriptors that they take.

use crate::common::tool::list_text;
use crate::common::{Leaker, list};

/// A process at its limit of descriptors: 20 sockets that nobody used, 10 whose connect() was refused, one that was
/// disconnected, and one that keeps a port.
fn at_the_limit() -> (Leaker, i32, usize) {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    for _ in 0..20 {
        leaker.unconnected();
    }
    for _ in 0..10 {
        leaker.refused();
    }
    let once = leaker.connect(&listener.local);
    let accepted = leaker.accept(1).remove(0);
    leaker.disconnect(once.fd());
    leaker.close(accepted.fd());
    let bound = leaker.bound();
    let limit = leaker.use_up_descriptors();
    (leaker, bound, limit)
}

#[test]
fn they_are_stranded_and_counted() {
    let (leaker, bound, limit) = at_the_limit();
    let quiet = list(&leaker, &[]);
    assert!(quiet.complete && quiet.sockets.is_empty(), "{quiet:#?}");
    assert_eq!((quiet.stranded("unconnected"), quiet.stranded("connect-failed")), (20, 11));

    let report = list(&leaker, &["--stranded"]);
    let count =
        |verdict| report.sockets.iter().filter(|row| row.kind() == ("stranded", verdict)).count();
    assert_eq!((count("unconnected"), count("connect-failed")), (20, 11), "{report:#?}");
    assert_eq!(report.sockets.len(), 31, "{report:#?}");
    let held = |row: &crate::common::Row| row.pid == Some(leaker.pid) && row.fds.len() == 1;
    assert!(report.sockets.iter().all(held), "{report:#?}");
    assert!(report.sockets.iter().all(|row| !row.fds.contains(&bound)), "{report:#?}");

    let process = report.process(leaker.pid).unwrap();
    assert_eq!((process.leaked, process.stranded), (0, 31), "{process:#?}");
    let open = leaker.open_descriptors().len() as u64;
    assert_eq!((process.open_fds, process.fd_limit), (Some(open), Some(limit as u64)));
    let count = |kind: &&str| process.descriptors[*kind].unwrap();
    let [stranded, listening, unconnected] =
        ["stranded", "listening", "unconnected"].map(|kind| count(&kind));
    assert_eq!((stranded, listening, unconnected), (31, 1, 1), "{process:#?}");
    let others = ["leaked", "connected", "other_sockets", "files"].iter().map(count).sum::<u64>();
    assert_eq!(stranded + listening + unconnected + others, open, "{process:#?}");
}

#[test]
fn at_the_limit_list_is_not_silent() {
    let (leaker, _, limit) = at_the_limit();
    let ran = list_text(&leaker, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let footer = ran.text().lines().find(|line| line.starts_with("also stranded: "));
    let footer = footer.unwrap_or_else(|| panic!("{}", ran.text()));
    let pid = leaker.pid.to_string();
    for part in ["20 unconnected", "11 connect-failed", &pid, "--stranded"] {
        assert!(footer.contains(part), "{part} in {footer}");
    }
    let shown = list_text(&leaker, &["--stranded"]);
    let open = leaker.open_descriptors().len();
    let census = format!("{open} of {limit} descriptors open");
    assert!(shown.text().contains(&census), "{census} in {}", shown.text());
}

/// As docker-proxy does.
#[test]
fn a_port_that_is_kept_is_in_use() {
    let (leaker, bound, _) = at_the_limit();
    let report = list(&leaker, &["--state", "close"]);
    let rows: Vec<_> = report.sockets.iter().filter(|row| row.fds == [bound]).collect();
    let [row] = rows[..] else { panic!("{report:#?}") };
    assert_eq!(row.kind(), ("in-use", "reserved"), "{row:#?}");
}
