//! `--btf`: what it can do where /sys hides the kernel's type information, and what it cannot.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::common::tool::{Ran, sockleak};
use crate::common::{Leaker, Want, assert_rows, need_root};

const OWN: &str = "/sys/kernel/btf/vmlinux";

/// A file that goes with the test.
struct Copy(PathBuf);

impl Copy {
    fn new(test: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("sockleak-{test}-{}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn of_kernel(test: &str) -> Self {
        need_root();
        Self::new(test, &fs::read(OWN).unwrap())
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs the tool where this folder, and whatever else libbpf knows, is empty.
fn where_hidden(folder: &str, arguments: &[&str]) -> Ran {
    thread::scope(|scope| {
        let run = || {
            // Of this thread and its children only.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let folders = [folder, "/boot", "/lib/modules", "/usr/lib/debug"];
            for folder in folders.iter().filter(|folder| Path::new(folder).is_dir()) {
                let tmpfs = Some("tmpfs");
                mount(tmpfs, *folder, tmpfs, MsFlags::empty(), None::<&str>).unwrap();
            }
            sockleak(arguments)
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn a_copy_stands_in_for_what_is_hidden() {
    let copy = Copy::of_kernel("stand-in");
    let mut leaker = Leaker::listening();
    let leak = leaker.leak();
    let netns = leaker.netns.to_string();
    for folder in ["/sys/kernel/btf", "/sys"] {
        let arguments = ["list", "--json", "--netns", &netns, "--btf", copy.path()];
        let ran = where_hidden(folder, &arguments);
        assert_rows(&ran.report(), [Want::held(&leaker, &leak)]);
        // Nobody else sees it there.
        assert!(fs::symlink_metadata(OWN).unwrap().is_file());
    }
}

#[test]
fn a_copy_is_of_no_harm_where_nothing_is_hidden() {
    let copy = Copy::of_kernel("spare");
    let leaker = Leaker::start();
    let ran = sockleak(&["list", "--netns", &leaker.netns.to_string(), "--btf", copy.path()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

/// Type information with no types in it: an empty header, and one empty string.
const EMPTY: [u8; 25] =
    [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

#[test]
fn a_bad_file_is_refused_in_one_line() {
    need_root();
    let text = Copy::new("text", b"not BTF");
    let foreign = Copy::new("foreign", &EMPTY);
    for file in [text.path(), foreign.path(), "/no/such/file"] {
        let arguments = ["list", "--btf", file];
        for ran in [sockleak(&arguments), where_hidden("/sys/kernel/btf", &arguments)] {
            assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
            for word in ["--btf", file, "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"] {
                assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
            }
        }
    }
}

#[test]
fn doctor_tells_of_it() {
    let copy = Copy::of_kernel("btf-doctor");
    let foreign = Copy::new("btf-doctor-foreign", &EMPTY);
    let status = |arguments: &[&str]| {
        let ran = where_hidden("/sys/kernel/btf", arguments);
        let said: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let checks = said["checks"].as_array().unwrap();
        let btf = checks.iter().find(|check| check["name"] == "btf").unwrap().clone();
        (ran.code, btf)
    };
    let (code, btf) = status(&["doctor", "--json"]);
    assert_eq!((code, btf["status"].as_str()), (Some(3), Some("missing")));
    assert!(btf["remedy"].as_str().unwrap().contains("--btf"), "{btf}");
    let (code, btf) = status(&["doctor", "--json", "--btf", copy.path()]);
    assert_eq!((code, btf["status"].as_str()), (Some(0), Some("ok")));
    let (code, btf) = status(&["doctor", "--json", "--btf", foreign.path()]);
    assert_eq!(code, Some(3), "the self-test cannot pass: {btf}");
}
