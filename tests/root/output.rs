//! Where and in which form answers are written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::common::tool::{INTERVAL, sockleak};
use crate::common::{Kind, Leaker};

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sockleak-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_file_takes_the_whole_answer_and_the_code_stays() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 100);
    let netns = leaker.netns.to_string();
    let folder = Folder::new("output");
    // Another user's, who lets nobody else in: as `sudo sockleak` in a home folder.
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&folder.0, Some(12_345), Some(12_345)).unwrap();
    let file = folder.0.join("report");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    chown(&file, Some(12_345), Some(54_321)).unwrap();
    // As long as it is open, no other file gets its number.
    let before = fs::File::open(&file).unwrap();
    let path = file.to_str().unwrap();
    for format in ["json", "csv", "text"] {
        let ran = sockleak(&["list", "--netns", &netns, "--format", format, "-O", path]);
        assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (Some(1), "", ""));
        let written = fs::read_to_string(&file).unwrap();
        assert_eq!(written.matches("eof-read").count(), if format == "text" { 101 } else { 100 });
        assert_eq!(folder.names(), ["report"], "no temporary file is left");
    }
    let now = fs::metadata(&file).unwrap();
    assert_ne!(now.ino(), before.metadata().unwrap().ino(), "it is another file");
    assert_eq!((now.mode() & 0o7777, now.uid(), now.gid()), (0o640, 12_345, 54_321));
    let ran = sockleak(&["list", "--netns", &netns, "-O", "/dev/null"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("--output") && fs::metadata("/dev/null").unwrap().len() == 0);
    for (target, code) in [("/no/such/folder/report", 2), ("/proc/report", 3)] {
        let ran = sockleak(&["list", "--netns", &netns, "-O", target]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(target) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
}

#[test]
fn csv_has_a_record_for_each_row() {
    let mut leaker = Leaker::start_named(b"a,\"b\"");
    leaker.listen("v4");
    let leaks = leaker.plant(Kind::DataUnread(30), 3);
    let netns = leaker.netns.to_string();
    let ran = sockleak(&["list", "--netns", &netns, "--format", "csv"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let mut reader = csv::Reader::from_reader(&ran.stdout[..]);
    let titles = reader.headers().unwrap().clone();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 3, "{ran:?}");
    for record in &records {
        let field = |name: &str| &record[titles.iter().position(|title| title == name).unwrap()];
        assert_eq!(field("comm"), "a,\"b\"");
        assert_eq!(field("pid"), leaker.pid.to_string());
        assert_eq!((field("verdict"), field("unread")), ("data-unread", "30"));
        assert_eq!((field("class"), field("netns")), ("leaked", &*netns));
        assert!(leaks.iter().any(|leak| field("remote") == leak.remote), "{record:?}");
        let used = leaker.open_descriptors().len().to_string();
        assert_eq!(field("used"), used);
        assert!(field("age").parse::<f64>().unwrap() >= 0.0);
        assert!(field("exe").ends_with("/leaker"), "{record:?}");
    }
}

#[test]
fn watch_ends_after_as_many_reports_as_were_asked_for() {
    let mut leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let watch = |format: &str| {
        let netns = ["--netns", &netns, "--interval", INTERVAL, "--count", "3"];
        let ran = sockleak(&[&["watch", "--format", format][..], &netns].concat());
        // A machine that is busy leaves scans no budget.
        let code = if ran.code == Some(4) { None } else { ran.code };
        (code, ran.text().to_owned())
    };
    let (code, quiet) = watch("json");
    assert!(code.is_none_or(|code| code == 0), "{code:?}");
    assert_eq!(quiet.lines().count(), 3, "{quiet:?}");
    leaker.plant(Kind::EofRead, 2);
    let (code, json) = watch("json");
    assert!(code.is_none_or(|code| code == 1), "{code:?}");
    assert_eq!(json.lines().count(), 3, "{json:?}");
    let (_, csv) = watch("csv");
    assert_eq!(csv.lines().count(), 1 + 3 * 2, "{csv:?}");
    assert!(csv.starts_with("time,age,"), "{csv:?}");
    let (_, text) = watch("text");
    assert_eq!(text.lines().filter(|line| line.starts_with("leaker[")).count(), 3, "{text:?}");
    assert!(!text.contains('\x1b'), "blocks below each other in a pipe: {text:?}");
}

#[test]
fn columns_and_rows_as_they_were_asked_for() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 30);
    let netns = leaker.netns.to_string();
    let list = |more: &[&str]| {
        let ran = sockleak(&[&["list", "--netns", &netns][..], more].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
        ran.text().to_owned()
    };
    let text = list(&["-o", "pid,user", "-o", "exe", "-n", "2"]);
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["PID", "USER", "EXE"]);
    assert_eq!(lines[1][..2], [&*leaker.pid.to_string(), "root"]);
    assert_eq!(lines[3], ["…", "28", "more:", "-a", "shows", "all"]);
    let text = list(&["-o", "+limit"]);
    assert!(text.lines().next().unwrap().ends_with(" VERDICT  LIMIT"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" eof-read")).count(), 30);
    let summary = list(&["--summary"]);
    assert_eq!(summary.lines().count(), 2, "{summary}");
    let coloured = list(&["--color", "always"]);
    assert!(coloured.contains("\x1b[1m") && coloured.contains("\x1b[0m"), "{coloured}");
}

#[test]
fn short_flags_mean_what_long_ones_do() {
    let mut leaker = Leaker::start_named(b"short-flags");
    leaker.listen("v4");
    leaker.plant(Kind::EofRead, 3);
    let (pid, netns) = (leaker.pid.to_string(), leaker.netns.to_string());
    let rows = |more: &[&str]| {
        let ran = sockleak(&[&["list", "-j", "--netns", &netns][..], more].concat());
        ran.report().sockets.len()
    };
    for flags in [&["-p", &pid][..], &["-c", "short-flags"], &["-u", "root"], &["-u", "0"], &["-a"]]
    {
        assert_eq!(rows(flags), 3, "{flags:?}");
    }
    assert_eq!(rows(&["-u", "1,2,3"]), 0);
    assert_eq!(rows(&["-p", "1", "-p", &pid]), 3, "lists are repeated");
    assert_eq!(rows(&["-s", "listen,close-wait"]), 4);
}
