//! Ourselves and our children, as /proc has them.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, id};
use std::time::{Duration, Instant};

use super::*;
use crate::host::process::{self, Kind};

/// A child that waits for the end of its input.
struct Waiting(Child);

impl Waiting {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits until it holds, for a minute at the most.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "it does not come to hold");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn began(pid: u32) -> u64 {
    Folder::open(pid).unwrap().stat().unwrap().began
}

/// A process, as the kernel would tell of it: to the tick, which is all that /proc says.
fn named(pid: u32) -> Named<'static> {
    // In a time namespace ticks are shifted; the tests run in the host's.
    Named { pid, start_boottime: began(pid) * 10_000_000, comm: "sh", uid: 0 }
}

fn identities() -> Identities {
    Identities::new(PathBuf::from("/no/such/folder"))
}

#[test]
fn a_child_is_known_by_what_it_runs_and_whose_it_is() {
    let child = Waiting::start(Command::new("cat").args(["-", "a b", ""]).arg0("my cat"));
    let read = || Identity::read(&named(child.0.id()).key());
    // In the middle of exec() there are no arguments.
    wait_until(|| read().cmdline.is_some() && read().exe.is_some_and(|exe| exe != own_exe()));
    let identity = read();
    let exe = std::fs::canonicalize("/usr/bin/cat").unwrap();
    assert_eq!(identity.exe.as_deref(), exe.to_str());
    assert_eq!(identity.cmdline.as_deref(), Some(&["my cat", "-", "a b"].map(str::to_owned)[..]));
    assert_eq!(identity.ppid, Some(id()));
    let comm = process::comm(id());
    assert!(comm.is_some() && identity.parent_comm == comm, "{identity:?}");
    let age = SystemTime::now().duration_since(identity.started.unwrap()).unwrap();
    assert!(age.as_secs() < 3_600, "{age:?}");
}

fn own_exe() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn another_process_of_the_same_number_is_not_taken_for_it() {
    let own = named(id());
    assert!(!Identity::read(&own.key()).known.ended);
    let ended = Identity { known: Known::ENDED, ..Identity::UNKNOWN };
    for off in [10_000_000, 20_000_000, 86_400_000_000_000] {
        let other = Named { start_boottime: own.start_boottime + off, ..own };
        assert_eq!(Identity::read(&other.key()), ended, "{off}");
    }
    let mut gone = Command::new("true").spawn().unwrap();
    let was = named(gone.id());
    gone.wait().unwrap();
    assert_eq!(Identity::read(&was.key()), ended);
}

#[test]
fn what_has_ended_says_nothing_wrong() {
    // A zombie: nobody waits for it yet.
    let mut child = Command::new("true").spawn().unwrap();
    let was = named(child.id());
    wait_until(|| process::kind(child.id()) == Some(Kind::Zombie));
    let zombie = Identity::read(&was.key());
    assert_eq!((zombie.exe, zombie.cmdline), (None, None));
    assert_eq!(zombie.known, Known::ALL, "it has none");
    let folder = Folder::open(child.id()).unwrap();
    child.wait().unwrap();
    assert!(Identity::of(&folder, None).known.ended);
    let folder = Folder::open(id()).unwrap();
    assert!(folder.bytes("no-such-file", 1).is_err());
}

#[test]
fn arguments_are_cut_and_titles_end() {
    let strings = |list: &[&str]| Some(list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
    assert_eq!(arguments(b""), None);
    assert_eq!(arguments(b"\0\0\0"), None);
    assert_eq!(arguments(b"cat\0-n\0"), strings(&["cat", "-n"]));
    assert_eq!(arguments(b"cat\0\0-n\0"), strings(&["cat", "", "-n"]));
    assert_eq!(arguments(b"nginx: worker process\0\0\0\0"), strings(&["nginx: worker process"]));
    assert_eq!(arguments(b"no end"), strings(&["no end"]));
    assert_eq!(arguments(b"\xff\0"), strings(&["\u{fffd}"]));
    let mut long = vec![b'a'; 16_383];
    long.extend("ö".as_bytes());
    let cut = arguments(&long).unwrap();
    assert_eq!((cut.len(), cut[0].chars().count()), (1, 16_384), "16,383 letters and a mark");
    assert!(cut[0].ends_with("a…"));
    assert_eq!(arguments(&[b'a'; 16_384]).unwrap()[0].len(), 16_384);
}

#[test]
fn a_name_in_brackets_does_not_end_the_name() {
    let text = "7 (a) R 1 (b)) S 5 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
    assert_eq!(stat(text), Some(Stat { ppid: 5, began: 98_765, has_ended: false }));
    let zombie = text.replace(" S 5", " Z 5");
    assert_eq!(stat(&zombie), Some(Stat { ppid: 5, began: 98_765, has_ended: true }));
    for bad in ["", "7 (a", "7 (a) S", "7 (a) S x 1", "7 (a) S 5 7 7 0 -1"] {
        assert_eq!(stat(bad), None, "{bad:?}");
    }
}

#[test]
fn names_are_harmless_in_json_and_unknown_is_null() {
    let identity = Identity {
        exe: Some("/tmp/\u{1b}[2J (deleted)".to_owned()),
        cmdline: Some(vec!["a\nb".to_owned(), "\u{202e}c".to_owned()]),
        unit: Some("\u{200b}.service".to_owned()),
        started: Some(SystemTime::UNIX_EPOCH),
        ..Identity::UNKNOWN
    };
    let json = serde_json::to_value(&identity).unwrap();
    assert_eq!(json["exe"], "/tmp/\u{fffd}[2J (deleted)");
    assert_eq!(json["cmdline"], serde_json::json!(["a\u{fffd}b", "\u{fffd}c"]));
    assert_eq!(json["unit"], "\u{fffd}.service");
    assert_eq!(json["started"], "1970-01-01T00:00:00.000Z");
    let nulls: Vec<_> =
        json.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).collect();
    assert_eq!(nulls.len(), 10, "{json}");
}

#[test]
fn one_report_reads_a_thousand_and_the_next_one_the_rest() {
    let mut identities = identities();
    let own = named(id());
    // None of them exists: that costs a look at each, too.
    let many = |from: u32, count: u32| {
        (from..from + count).map(move |pid| Named { pid: pid + 4_200_000_000_u32 / 2, ..own })
    };
    identities.begin();
    assert!(!identities.read(many(0, 1_500)));
    let read = |identities: &Identities, from: u32, count: u32| {
        many(from, count)
            .filter(|one| identities.get(one.pid, one.start_boottime).is_some())
            .count()
    };
    assert_eq!(read(&identities, 0, 1_500), AT_ONCE, "the first, in the order in which they come");
    assert_eq!(read(&identities, 0, 1_000), AT_ONCE);
    identities.begin();
    assert!(identities.read(many(0, 1_500)));
    assert_eq!(read(&identities, 0, 1_500), 1_500);
    // Processes that nobody asks for any more are forgotten.
    identities.begin();
    assert!(identities.read(many(0, 10)));
    identities.begin();
    assert_eq!(read(&identities, 0, 1_500), 10);
}

#[test]
fn what_becomes_another_program_is_read_again() {
    let mut child = Waiting::start(Command::new("sh").args(["-c", "read line; exec cat -n"]));
    let pid = child.0.id();
    wait_until(|| process::comm(pid).as_deref() == Some("sh"));
    let mut identities = identities();
    let mut cmdline = |comm: &'static str| {
        identities.begin();
        let process = Named { comm, ..named(pid) };
        identities.read([process]);
        identities.get(pid, process.start_boottime).unwrap().cmdline.clone().unwrap().join(" ")
    };
    assert_eq!(cmdline("sh"), "sh -c read line; exec cat -n");
    child.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    wait_until(|| process::comm(pid).as_deref() == Some("cat"));
    assert_eq!(cmdline("sh"), "sh -c read line; exec cat -n", "as long as nothing tells of it");
    assert_eq!(cmdline("cat"), "cat -n");
}
