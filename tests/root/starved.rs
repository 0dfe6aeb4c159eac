//! Where something is lacking that every program takes for granted, one line says what, and the remedy.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::tool::{Ran, binary};
use crate::common::{Leaker, need_root};
use crate::refusals::with_empty;

#[track_caller]
fn assert_one_line(ran: &Ran, words: &[&str]) {
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
    }
}

/// Runs the tool within these limits, soft and hard.
#[allow(unsafe_code, reason = "what runs between fork() and exec() makes one system call")]
fn within(limit: Resource, soft: rlim_t, hard: rlim_t, arguments: &[&str]) -> Ran {
    need_root();
    let mut command = Command::new(binary());
    command.args(arguments);
    unsafe { command.pre_exec(move || setrlimit(limit, soft, hard).map_err(io::Error::from)) };
    Ran::of(&mut command)
}

#[test]
fn too_few_descriptors() {
    for limit in [4, 20, 30] {
        let ran = within(Resource::RLIMIT_NOFILE, limit, limit, &["list"]);
        assert_one_line(&ran, &[&format!("only {limit} descriptors"), "ulimit -n"]);
    }
}

/// What may be raised is raised.
#[test]
fn a_soft_limit_of_descriptors_is_no_obstacle() {
    let leaker = Leaker::start();
    let netns = leaker.netns.to_string();
    let ran = within(Resource::RLIMIT_NOFILE, 4, 64, &["list", "--netns", &netns]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn too_little_memory() {
    let mib = 1 << 20;
    for limit in [30 * mib, 63 * mib] {
        let ran = within(Resource::RLIMIT_AS, limit, limit, &["list"]);
        assert_one_line(&ran, &["MiB of memory", "ulimit -v"]);
    }
    let leaker = Leaker::start();
    let netns = leaker.netns.to_string();
    let ran = within(Resource::RLIMIT_AS, 64 * mib, 64 * mib, &["list", "--netns", &netns]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn no_proc() {
    assert_one_line(&with_empty(&["/proc"]), &["/proc", "mount -t proc proc /proc"]);
}

/// A file that goes with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("sockleak-{test}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn types_are_read_from_a_regular_file_of_bounded_size_only() {
    need_root();
    let fifo = Scratch::new("fifo");
    mkfifo(&fifo.0, Mode::S_IRUSR).unwrap();
    let sparse = Scratch::new("sparse");
    fs::File::create(&sparse.0).unwrap().set_len((64 << 20) + 1).unwrap();
    for path in [fifo.0.to_str().unwrap(), sparse.0.to_str().unwrap(), "/dev/zero", "/tmp"] {
        let ran = Ran::of(Command::new(binary()).args(["list", "--btf", path]));
        assert_one_line(&ran, &["--btf", path, "regular file of at most 64 MiB"]);
    }
}
