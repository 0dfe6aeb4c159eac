//! The report of a run as JUnit XML, which CI servers read: a test case for each process that leaks, and
//! one for the command itself.

use std::collections::BTreeMap;
use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::text::run;
use crate::follow::leak::Leak;
use crate::follow::report::RunReport;
use crate::sock::name::sanitised;

/// Writes the report.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(report: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let mut suite = TestSuite::new("sockleak");
    suite.set_time(report.ran);
    suite.add_test_case(of_command(report)?);
    for ((pid, comm), leaks) in by_process(&report.sockets) {
        suite.add_test_case(of_process(pid, comm, &leaks, report.fails()));
    }
    let mut all = Report::new("sockleak run");
    all.set_time(report.ran);
    all.add_test_suite(suite);
    all.serialize(out).map_err(io::Error::other)
}

fn by_process(leaks: &[Leak]) -> BTreeMap<(u32, &str), Vec<&Leak>> {
    let mut processes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for leak in leaks {
        processes.entry((leak.pid, &*leak.comm)).or_default().push(leak);
    }
    processes
}

/// How the command itself has failed, if it has.
fn failure(report: &RunReport) -> Option<String> {
    match (report.command_exit_code, report.command_signal) {
        (Some(0), _) | (None, None) => None,
        (Some(code), _) => Some(format!("the command exited with {code}")),
        (None, Some(signal)) => Some(format!("signal {signal} killed the command")),
    }
}

/// The command: it fails as the run does.
fn of_command(report: &RunReport) -> io::Result<TestCase> {
    let status = if !report.complete {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let reasons: Vec<_> = report.incomplete.iter().map(ToString::to_string).collect();
        status.set_message(format!("incomplete: {}", reasons.join("; ")));
        status
    } else if report.fails() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("leaked sockets: {}", report.leaked)).set_type("leaked");
        status
    } else if let Some(how) = failure(report) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(how).set_type("failed");
        status
    } else {
        TestCaseStatus::success()
    };
    let mut text = Vec::new();
    run::render(report, &mut text)?;
    let mut case = TestCase::new(sanitised(&report.command.join(" ")).into_owned(), status);
    case.set_classname("sockleak").set_time(report.ran);
    case.set_system_out(XmlString::new(String::from_utf8_lossy(&text)));
    Ok(case)
}

/// A process with leaks: it fails, unless so many are allowed.
fn of_process(pid: u32, comm: &str, leaks: &[&Leak], fails: bool) -> TestCase {
    let verdicts: Vec<_> = leaks
        .iter()
        .map(|leak| {
            let verdict = leak.verdict.map_or("unknown", |verdict| verdict.name());
            format!("{verdict} {} {} {}", leak.local, leak.remote, leak.ended.name())
        })
        .collect();
    let verdicts = verdicts.join("\n");
    let args = leaks.first().map(|leak| leak.args.join(" ")).unwrap_or_default();
    let name = format!("{}[{pid}]: {}", sanitised(comm), sanitised(&args));
    let mut case = TestCase::new(name, TestCaseStatus::success());
    if fails {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("leaked sockets: {}", leaks.len())).set_type("leaked");
        status.set_description(verdicts);
        case.status = status;
    } else {
        case.set_system_out(verdicts);
    }
    case.set_classname(format!("sockleak.{}", sanitised(comm)));
    case
}
