//! Who was asked for: names in full, and filters that can match nothing.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::{INTERVAL, binary, list_text, sockleak};
use crate::common::{DEADLINE, Kind, Leaker, Report, leaker, list, not_possible, wait_until};

#[test]
fn a_filter_that_can_match_nothing_is_a_usage_error() {
    let mut leaker = Leaker::listening();
    leaker.threads(1);
    let threads = std::fs::read_dir(format!("/proc/{}/task", leaker.pid)).unwrap();
    let thread = threads
        .map(|thread| thread.unwrap().file_name().into_string().unwrap())
        .find(|thread| *thread != leaker.pid.to_string())
        .unwrap();
    // A child that nobody waits for.
    let mut child = Command::new("true").spawn().unwrap();
    let zombie = child.id().to_string();
    wait_until("a zombie", || {
        let status = std::fs::read_to_string(format!("/proc/{zombie}/status")).unwrap();
        status.contains("State:\tZ")
    });
    for (option, value, word) in [
        ("--comm", "leaker,no-such-program-anywhere", "no-such-program-anywhere"),
        ("--pid", "2147483647", "no such process"),
        ("--pid", &thread, "thread of process"),
        ("--pid", &zombie, "zombie"),
        ("--netns", "7", "no such network namespace"),
    ] {
        // Before 6.1 no program lists network namespaces, and a number cannot be wrong.
        if option == "--netns" && !Path::new("/proc/sys/net/ipv4/tcp_child_ehash_entries").exists()
        {
            not_possible("asked::a_network_namespace_that_does_not_exist", "they are not listed");
            continue;
        }
        let ran = list_text(&leaker, &[option, value]);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{option} {value}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains(option) && ran.stderr.contains(word), "{ran:?}");
    }
    child.wait().unwrap();
}

#[test]
fn who_may_yet_come_is_a_note_in_watch() {
    let leaker = Leaker::listening();
    let mut command = Command::new(binary());
    command.args(["watch", "--json", "--pid", "2147483647"]).stdin(Stdio::null());
    let mut watch = Running::start(command.args(["--netns", &leaker.netns.to_string()]));
    assert!(watch.line(DEADLINE).is_some(), "{}", watch.stderr());
    // Another thread reads stderr.
    wait_until("the note", || watch.stderr().contains("there is no such process"));
}

/// The kernel cuts a name after 15 bytes.
#[test]
fn by_the_name_of_the_executable() {
    let mut leaker = Leaker::start_named(b"another-name");
    leaker.listen("v4");
    leaker.plant(Kind::EofRead, 2);
    for name in ["another-name", "leaker"] {
        assert_eq!(list(&leaker, &["--comm", name]).sockets.len(), 2, "{name}");
        assert_eq!(list(&leaker, &["--not", &format!("comm={name}")]).sockets.len(), 0, "{name}");
    }
}

/// A process whose leader has ended before its other threads, started by another name than its
/// executable's: /proc/PID has neither that nor its arguments any more.
struct Headless {
    process: Child,
    link: PathBuf,
}

impl Headless {
    /// The name has to be one that no other test takes.
    fn start(name: &str) -> Self {
        let link = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        symlink(leaker::binary(), &link).unwrap();
        let mut command = Command::new(&link);
        let process = command.args(["plan", "threads", "--keep", "600000"]).spawn().unwrap();
        let headless = Self { process, link };
        wait_until("its leader has ended", || {
            let status = format!("/proc/{}/status", headless.process.id());
            std::fs::read_to_string(status).unwrap().contains("State:\tZ")
        });
        headless
    }
}

impl Drop for Headless {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.link);
    }
}

#[test]
fn by_what_a_process_runs_whose_leader_has_ended() {
    let headless = Headless::start("headless");
    let pid = headless.process.id().to_string();
    let ask = |option: &str, value: &str| {
        let ran = sockleak(&["list", "--json", "--pid", &pid, option, value]);
        assert_eq!(ran.stderr, "", "{option} {value}");
        ran.report()
    };
    for (option, value) in [
        ("--exe", "leaker"),
        ("--cmd", "plan threads"),
        ("--comm", "leaker"),
        ("--netns", &format!("/proc/{pid}/task/{}/ns/net", thread_of(&pid))),
    ] {
        let report = ask(option, value);
        assert_eq!(report.sockets.len(), 1, "{option} {value}: {report:#?}");
        let process = &report.processes[0];
        assert!(process.exe.as_ref().is_some_and(|exe| exe.ends_with("leaker")), "{process:#?}");
        assert!(process.cmdline.as_ref().is_some_and(|all| all[1] == "plan"), "{process:#?}");
    }
    for known in ["exe=leaker", "cmd=plan threads", "comm=leaker"] {
        assert_eq!(ask("--not", known).sockets.len(), 0, "{known}");
    }
}

/// A thread of it that is not the leader.
fn thread_of(pid: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut names = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
    names.find(|name| name != pid).unwrap()
}

/// To read an executable takes a capability, which `watch` keeps for names, too.
#[test]
fn a_known_leak_is_left_out_by_the_name_of_its_executable() {
    let headless = Headless::start("renamed");
    let pid = headless.process.id().to_string();
    let netns = format!("/proc/{pid}/task/{}/ns/net", thread_of(&pid));
    let watch = |not: &str| {
        let mut command = Command::new(binary());
        command.args(["watch", "--json", "--count", "1", "--netns", &netns, "--not", not]);
        Report::parse(&Running::start(command.stdin(Stdio::null())).line(DEADLINE).unwrap())
    };
    assert_eq!(watch("comm=another").sockets.len(), 1);
    assert_eq!(watch("comm=leaker").sockets.len(), 0);
}

/// A leak of unknown owner concerns only processes that live in its network namespace.
#[test]
fn an_unknown_owner_concerns_the_processes_beside_it() {
    let mut elsewhere = Leaker::listening();
    elsewhere.leak();
    let mut beside = Leaker::listening();
    let leak = beside.leak();
    beside.send_away(leak.fd());
    for (leaker, reasons) in [(&elsewhere, &[][..]), (&beside, &["owners-unknown"])] {
        let pid = leaker.pid.to_string();
        let report = sockleak(&["list", "--json", "--pid", &pid]).report();
        assert_eq!(report.reasons(), reasons, "{report:#?}");
        let mut command = Command::new(binary());
        command.args(["watch", "--json", "--interval", INTERVAL, "--pid", &pid]);
        command.args(["--scan-budget", "100%"]).stdin(Stdio::null());
        let mut watch = Running::start(&mut command);
        for _ in 0..3 {
            let report = Report::parse(&watch.line(DEADLINE).unwrap());
            assert_eq!(report.reasons(), reasons, "{report:#?}");
        }
    }
}
