//! `sockleak doctor`: on a host where everything is allowed, and where something is not.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;
use sockleak::sock::leak::Verdict;

use crate::common::tool::{Ran, binary, sockleak};
use crate::common::{Leaker, need_root};

fn said(ran: &Ran) -> Value {
    assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
    serde_json::from_str(ran.text()).unwrap()
}

fn status(said: &Value, name: &str) -> String {
    let checks = said["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name}: {said}"))["status"].as_str().unwrap().to_owned()
}

#[test]
fn root_finds_everything() {
    need_root();
    let ran = sockleak(&["doctor", "--json"]);
    let said = said(&ran);
    let test = &said["self_test"];
    assert_eq!(test["not_found"], serde_json::json!([]), "{said}");
    assert_eq!(test["planted"], Verdict::ALL.len(), "{said}");
    assert_eq!(test["found"], Verdict::ALL.len(), "{said}");
    assert_eq!(test["wrong_owners"], 0, "{said}");
    assert_eq!(test["own_network_namespace"], true, "{said}");
    assert!(test["seconds"].as_f64().unwrap() > 0.0, "{said}");
    assert_eq!(said["schema"], 1);
    assert_eq!(ran.code, Some(0), "{said}");
    assert_eq!(ran.stderr, "");
    for name in ["kernel", "btf", "tp_btf", "iter/task", "holders", "connections", "capabilities"] {
        assert_eq!(status(&said, name), "ok", "{said}");
    }
}

#[test]
fn text_has_a_line_for_each_check_and_one_for_the_self_test() {
    need_root();
    let ran = sockleak(&["doctor"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let json = said(&sockleak(&["doctor", "--json"]));
    let lines = ran.text().lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(lines, json["checks"].as_array().unwrap().len() + 1, "{ran:?}");
    let all = Verdict::ALL.len();
    assert!(ran.text().contains(&format!("found {all} of {all}")), "{ran:?}");
}

/// Without privilege it says what is missing, and does not stop at it.
#[test]
fn nobody_is_told_what_is_missing() {
    need_root();
    let tool = crate::refusals::Public::new("doctor");
    let ran = Ran::of(Command::new(&tool.0).args(["doctor", "--json"]).uid(65534).gid(65534));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran:?}");
    let said = said(&ran);
    assert_eq!(status(&said, "capabilities"), "missing");
    assert_eq!(status(&said, "holders"), "ok", "what can be told is told: {said}");
    assert_eq!(said["self_test"]["found"], 0);
    assert!(said["self_test"]["error"].as_str().unwrap().contains("CAP_BPF"), "{said}");
}

/// Leaks of others are not counted, and disturb nothing.
#[test]
fn other_leaks_do_not_matter() {
    let mut leaker = Leaker::listening();
    leaker.plant(crate::common::Kind::EofRead, 20);
    let ran = leaker.inside(|| Ran::of(Command::new(binary()).args(["doctor", "--json"])));
    let said = said(&ran);
    assert_eq!(said["self_test"]["found"], Verdict::ALL.len(), "{said}");
    assert_eq!(ran.code, Some(0), "{said}");
}
