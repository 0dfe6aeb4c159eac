//! The recipes of docs/ci.md, on the projects in `examples/ci`: each leaks one socket until it is mended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::run::{RunReport, command};
use crate::common::{Ran, not_possible};

/// A copy of a project. It ends with the test.
struct Project(PathBuf);

impl Project {
    fn copy(name: &str) -> Option<Self> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(name);
        let to = std::env::temp_dir().join(format!("sockleak-{name}-{}", std::process::id()));
        from.exists().then(|| {
            copy(&from, &to);
            Self(to)
        })
    }

    /// Replaces a line that is there once.
    fn mend(&self, file: &str, line: &str, mended: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(line).count(), 1, "{line} in {file}");
        fs::write(path, text.replace(line, mended)).unwrap();
    }

    fn run(&self, words: &[&str]) -> RunReport {
        // A busy machine takes its time to end an interpreter.
        let mut command = command(&["--json", "--teardown", "60s"], words);
        command.current_dir(&self.0).env("CARGO_TARGET_DIR", self.0.join("target"));
        let report = RunReport::of(&Ran::of(&mut command));
        assert!(report.complete && report.command_exit_code == Some(0), "{report:#?}");
        report
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn has(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs the tests of a project, mends it, and runs them again.
#[track_caller]
fn try_out(name: &str, words: &[&str], ended: &str, [file, line, mended]: [&str; 3]) {
    let Some(project) = Project::copy(name) else {
        not_possible(&format!("run_recipes::{name}"), "the project is not there");
        return;
    };
    let report = project.run(words);
    assert_eq!((report.exit_code, &*report.only().ended), (1, ended), "{report:#?}");
    project.mend(file, line, mended);
    let report = project.run(words);
    assert_eq!((report.exit_code, report.leaked), (0, 0), "{report:#?}");
}

#[test]
fn pytest() {
    let has_it = |python: &&str| has(&[python, "-c", "import pytest"]);
    // The distribution's own, where that is not the first of its name.
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        return not_possible("run_recipes::pytest", "there is no pytest");
    };
    let mend = ["test_stock.py", "CLIENTS.append(stock)", "stock.close()"];
    try_out("pytest", &[python, "-B", "-m", "pytest", "-q"], "at-teardown", mend);
}

#[test]
fn go_test() {
    if !has(&["go", "version"]) {
        return not_possible("run_recipes::go_test", "there is no Go");
    }
    let mend = ["stock_test.go", "watchers = append(watchers, watcher)", "watcher.Close()"];
    try_out("go", &["go", "test", "-count=1", "./..."], "at-exit", mend);
}

#[test]
fn cargo_test() {
    if !has(&["cargo", "--version"]) {
        return not_possible("run_recipes::cargo_test", "there is no cargo");
    }
    let mend = ["src/lib.rs", "WATCHERS.lock().unwrap().push(watcher)", "drop(watcher)"];
    try_out("cargo", &["cargo", "test", "--lib", "--quiet"], "at-exit", mend);
}
