//! Files that `run` reads and writes: reports, baselines, JUnit.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::run::{command, plan, run};
use crate::common::{Ran, not_possible};

/// A file that ends with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let file = format!("sockleak-run-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(file))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_report_goes_to_a_file() {
    let file = Scratch::new("report");
    let ran = Ran::of(&mut command(&["-O", file.path()], &plan(&["exit"])));
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""), "{ran:?}");
    assert!(file.text().ends_with("exit code 1\n"), "{}", file.text());
    let ran = Ran::of(&mut command(&["-O", file.path(), "--json"], &plan(&["clean"])));
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let report: Value = serde_json::from_str(&file.text()).unwrap();
    assert_eq!((&report["leaked"], &report["sockets"]), (&0.into(), &Value::Array(vec![])));
}

#[test]
fn a_baseline_is_written_and_read() {
    let file = Scratch::new("baseline");
    let two = plan(&["exit", "--count", "2"]);
    let (_, report) = run(&["--baseline", file.path(), "--write-baseline"], &two);
    assert_eq!((report.exit_code, report.known), (0, 2), "{report:#?}");
    let (_, report) = run(&["--baseline", file.path()], &two);
    assert_eq!((report.exit_code, report.known, report.leaked), (0, 2, 0), "{report:#?}");
    assert!(report.gone.is_empty(), "{report:#?}");
    // One more than is known, and others than are known.
    let (_, report) = run(&["--baseline", file.path()], &plan(&["exit", "--count", "3"]));
    assert_eq!((report.exit_code, report.known, report.leaked), (1, 2, 1), "{report:#?}");
    let (_, report) = run(&["--baseline", file.path()], &plan(&["reset"]));
    assert_eq!((report.exit_code, report.known, report.leaked), (1, 0, 1), "{report:#?}");
    assert_eq!((report.gone.len(), &report.gone[0]["count"]), (1, &2.into()), "{report:#?}");
    assert_eq!(report.gone[0]["verdict"], "eof-unread", "{report:#?}");
    let ran = Ran::of(&mut command(&["--baseline", file.path()], &plan(&["clean"])));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let gone = "no longer leaked, and still in the baseline: 2 eof-unread of leaker, accepted";
    assert!(ran.stderr.contains(gone), "{ran:?}");
    fs::write(&file.0, "{}").unwrap();
    let ran = Ran::of(&mut command(&["--baseline", file.path()], &plan(&["clean"])));
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("is no baseline"), "{ran:?}");
}

/// A full disk: what cannot be written is told, and all else is as it would be.
#[test]
fn a_file_that_cannot_be_written_hides_nothing() {
    for (options, message) in [
        (&["--junit", "/dev/full"][..], "cannot write the JUnit report: No space left"),
        (&["--baseline", "/dev/full", "--write-baseline"], "cannot write the baseline: "),
    ] {
        let ran = Ran::of(&mut command(options, &plan(&["exit"])));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(&format!("sockleak: {message}")), "{ran:?}");
        assert!(
            ran.stderr.ends_with("1 leaked; the command exited with 0; exit code 1\n"),
            "{ran:?}"
        );
    }
    let ran = Ran::of(&mut command(&["-O", "/dev/full"], &plan(&["exit"])));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("sockleak: cannot write the report: No space left"), "{ran:?}");
}

/// Reads a JUnit file as CI servers do: the names of its cases, and of those that fail.
const READER: &str = r#"
import sys, json
from junitparser import JUnitXml, Failure, Error
xml = JUnitXml.fromfile(sys.argv[1])
cases = [case for suite in xml for case in suite]
assert xml.tests == len(cases), (xml.tests, len(cases))
bad = lambda kind: [c.name for c in cases if any(isinstance(r, kind) for r in c.result)]
assert xml.failures == len(bad(Failure)) and xml.errors == len(bad(Error))
print(json.dumps({"cases": [c.name for c in cases], "failed": bad(Failure), "errors": bad(Error)}))
"#;

#[test]
fn junit_is_what_ci_servers_read() {
    let can_read = |python: &&str| {
        let output = Command::new(python).args(["-c", "import junitparser"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    // The distribution's own, where that is not the first of its name.
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(can_read) else {
        not_possible("run_files::junit_is_what_ci_servers_read", "no junitparser for Python");
        return;
    };
    let file = Scratch::new("junit");
    let read = |options: &[&str], words: &[&str]| -> Value {
        let options = [&["--junit", file.path()][..], options].concat();
        let words = if words == ["false"] { vec!["false".to_owned()] } else { plan(words) };
        Ran::of(&mut command(&options, &words));
        let ran = Ran::of(Command::new(python).args(["-c", READER, file.path()]));
        assert_eq!(ran.code, Some(0), "{ran:?}: {}", file.text());
        serde_json::from_slice(&ran.stdout).unwrap()
    };
    let lengths = |value: &Value| {
        ["cases", "failed", "errors"].map(|key| value[key].as_array().unwrap().len())
    };
    let clean = read(&[], &["clean"]);
    assert_eq!(lengths(&clean), [1, 0, 0], "{clean}");
    let leaked = read(&[], &["exit", "--count", "2"]);
    assert_eq!(lengths(&leaked), [2, 2, 0], "{leaked}");
    assert!(leaked["failed"][1].as_str().unwrap().starts_with("leaker["), "{leaked}");
    // It agrees with the exit code.
    assert_eq!(lengths(&read(&["--max-leaks", "2"], &["exit", "--count", "2"])), [2, 0, 0]);
    assert_eq!(lengths(&read(&[], &["false"])), [1, 1, 0]);
    let full = read(&["--table-size", "16"], &["exit", "--count", "100"]);
    assert_eq!(lengths(&full)[2], 1, "{full}");
    // A name that no XML may hold.
    let odd = read(&["--not", "comm=\u{1}<&\"'>"], &["exit"]);
    assert_eq!(lengths(&odd), [2, 2, 0], "{odd}");
}
