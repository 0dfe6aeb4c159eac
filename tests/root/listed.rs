//! What is only listed is not called leaked.

use crate::common::tool::list_text;
use crate::common::{Kind, Leaker, list};

#[test]
fn a_listener_and_a_live_connection_are_listed() {
    let mut leaker = Leaker::listening();
    leaker.plant_one(Kind::Established);
    let ran = list_text(&leaker, &["--state", "all"]);
    assert_eq!(ran.code, Some(1), "rows matched: {ran:?}");
    assert!(ran.text().contains("3 listed"), "{}", ran.text());
    assert!(!ran.text().contains("leaked"), "{}", ran.text());
    let report = list(&leaker, &["--state", "all"]);
    assert_eq!(report.sockets.len(), 3, "{report:#?}");
    assert!(report.sockets.iter().all(|row| row.class == "in-use"), "{report:#?}");
}

#[test]
fn each_row_says_its_class() {
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let idle = leaker.plant_one(Kind::Established);
    leaker.unconnected();
    let report = list(&leaker, &["--state", "all"]);
    assert_eq!(report.kind(&leak), Some(("leaked", "eof-read")), "{report:#?}");
    assert_eq!(report.row(&idle).class, "in-use", "{report:#?}");
    let stranded = report.sockets.iter().filter(|row| row.class == "stranded").count();
    assert_eq!(stranded, 1, "{report:#?}");
}
