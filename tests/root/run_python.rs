//! `run` on Python programs: the interpreter closes in its last moments what the program has not.

use crate::common::not_possible;
use crate::common::run::{RunReport, run};

/// The beginning of each program: a connection whose client has left.
const CONNECTION: &str = "
import os, socket, subprocess, sys, time
listener = socket.create_server(('127.0.0.1', 0))
def connection():
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.close()
    return server
";

/// Runs a Python program, where there is Python.
fn python(test: &str, options: &[&str], program: &str) -> Option<RunReport> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        not_possible(&format!("run_python::{test}"), "there is no Python");
        return None;
    }
    let (_, report) = run(options, &["python3", "-c", &format!("{CONNECTION}{program}")]);
    assert!(report.complete && report.command_exit_code == Some(0), "{report:#?}");
    Some(report)
}

const PATIENT: [&str; 4] = ["--teardown", "60s", "--min-age", "50ms"];

#[test]
fn closed_by_the_interpreter() {
    let program = "leaked = connection(); time.sleep(0.2)";
    let Some(report) = python("closed_by_the_interpreter", &PATIENT, program) else { return };
    let leak = report.only();
    assert_eq!((&*leak.ended, leak.verdict()), ("at-teardown", "eof-unread"), "{report:#?}");
    assert!(leak.comm.starts_with("python3"), "{report:#?}");
    assert_eq!(report.exit_code, 1, "{report:#?}");
}

#[test]
fn left_to_the_exit() {
    let program = "leaked = connection(); leaked.recv(1); time.sleep(0.2); os._exit(0)";
    let Some(report) = python("left_to_the_exit", &PATIENT, program) else { return };
    let leak = report.only();
    assert_eq!((&*leak.ended, leak.verdict()), ("at-exit", "eof-read"), "{report:#?}");
}

#[test]
fn in_a_child_of_a_child() {
    let program = "
if os.fork() == 0:
    if os.fork() == 0:
        leaked = connection(); time.sleep(0.2); os._exit(0)
    os.wait(); os._exit(0)
os.wait()";
    let Some(report) = python("in_a_child_of_a_child", &PATIENT, program) else { return };
    assert_eq!(report.only().ended, "at-exit", "{report:#?}");
}

/// Mended, the same program is clean.
#[test]
fn closed_in_time() {
    let program = "
with connection() as served: pass
time.sleep(0.2)";
    let Some(report) = python("closed_in_time", &["--min-age", "10s"], program) else { return };
    assert_eq!((report.exit_code, report.leaked), (0, 0), "{report:#?}");
}

/// A socket that the collector closes long before the end was closed late.
#[test]
fn closed_late_by_the_collector() {
    let program = "leaked = connection(); time.sleep(0.2); del leaked; time.sleep(0.2)";
    let short = ["--teardown", "1ms"];
    let Some(report) = python("closed_late_by_the_collector", &short, program) else { return };
    assert_eq!((report.exit_code, report.leaked, report.late.len()), (0, 0, 1), "{report:#?}");
}
