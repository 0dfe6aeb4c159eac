//! What is given up at the start stays given up: no exec() brings a capability back.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use caps::Capability;
use sockleak::host::privilege::give_up_all_but;

use crate::common::leaker::binary as leaker_binary;
use crate::common::lines::Running;
use crate::common::tool::{Ran, binary};
use crate::common::{Events, Kind, Leaker, Watch, need_root, wait_until};
use crate::privilege::as_ambient;
use crate::refusals::{NOBODY, Public};

/// The capabilities that this test keeps.
const KEPT: [Capability; 2] = [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE];

/// A field of /proc/PID/status in hex.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(line.unwrap_or_else(|| panic!("no {name} in {status}")).trim(), 16).unwrap()
}

/// A program that prints its /proc/self/status, and that an exec() gives something.
pub(crate) struct Program(pub(crate) PathBuf);

impl Program {
    fn new(name: &str) -> Self {
        need_root();
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        // By another process: see `Public`.
        let copied = Command::new("cp").arg(leaker_binary()).arg(&path).status().unwrap();
        assert!(copied.success(), "{copied}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn plain() -> Self {
        Self::new("plain")
    }

    fn setuid() -> Self {
        let program = Self::new("setuid");
        fs::set_permissions(&program.0, fs::Permissions::from_mode(0o4755)).unwrap();
        program
    }

    /// As `setcap cap_sys_admin+ep` makes it.
    #[allow(unsafe_code, reason = "neither std nor nix sets extended attributes")]
    fn capable() -> Self {
        unsafe extern "C" {
            fn setxattr(
                path: *const c_char,
                name: *const c_char,
                value: *const c_void,
                size: usize,
                flags: c_int,
            ) -> c_int;
        }
        let program = Self::new("capable");
        // struct vfs_cap_data: revision 2, effective; permitted and inheritable, low and high halves.
        let words = [0x0200_0001, 1 << Capability::CAP_SYS_ADMIN.index(), 0, 0, 0_u32];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let path = CString::new(program.0.to_str().unwrap()).unwrap();
        let name = c"security.capability";
        let value = bytes.as_ptr().cast();
        let done = unsafe { setxattr(path.as_ptr(), name.as_ptr(), value, bytes.len(), 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        program
    }

    /// What it says of itself, started as this user by a child that has first done `before`.
    #[allow(
        unsafe_code,
        reason = "what runs between fork() and exec() has to be safe to run there"
    )]
    fn status(&self, uid: u32, before: fn() -> std::io::Result<()>) -> String {
        let mut command = Command::new(&self.0);
        command.arg("status").uid(uid);
        unsafe { command.pre_exec(before) };
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.text().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn no_exec_brings_a_capability_back() {
    let give_up = || give_up_all_but(&KEPT);
    for (program, uid) in
        [(Program::plain(), 0), (Program::setuid(), NOBODY), (Program::capable(), NOBODY)]
    {
        let with = program.status(uid, || Ok(()));
        assert_ne!(field(&with, "CapEff:"), 0, "it can be had: {with}");
        let without = program.status(uid, give_up);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(&without, set), 0, "{:?} as {uid}: {without}", program.0);
        }
        assert_eq!(field(&without, "NoNewPrivs:"), 1, "{without}");
    }
}

/// Each thread of a process, seen from outside: the bounding set is empty, and no exec() gives more.
fn assert_given_up(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert_eq!(field(&status, "CapBnd:"), 0, "{status}");
        assert_eq!(field(&status, "NoNewPrivs:"), 1, "{status}");
        assert_eq!(field(&status, "CapInh:") | field(&status, "CapAmb:"), 0, "{status}");
    }
}

#[test]
fn watch_and_events_have_given_up() {
    let mut leaker = Leaker::listening();
    assert_given_up(Watch::start(&leaker, &[]).process.pid());
    assert_given_up(Events::start(&mut leaker).process.pid());
}

/// Seen while it waits for somebody to read what it has found.
#[test]
fn list_has_given_up() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 2000);
    let netns = leaker.netns.to_string();
    let mut command = Command::new(binary());
    command.args(["list", "--json", "--netns", &netns]).stdin(Stdio::null());
    let mut list = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(list.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(first, *b"{");
    assert_given_up(list.id());
    drop(list.stdout.take());
    wait_until("list ends", || list.try_wait().unwrap().is_some());
}

/// The files in /proc of a process that is not dumpable belong to root.
#[test]
fn who_is_not_root_cannot_be_debugged_by_his_own_user() {
    let tool = Public::new("dumpable");
    let leaker = Leaker::listening();
    let mut command = Command::new(&tool.0);
    command.args(["watch", "--json", "--netns", &leaker.netns.to_string()]);
    command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let mut watch = as_ambient(|| Running::start(&mut command));
    watch.line(crate::common::DEADLINE).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", watch.pid())).unwrap();
    assert!(status.contains(&format!("Uid:\t{NOBODY}")), "{status}");
    assert_eq!(field(&status, "NoNewPrivs:"), 1, "{status}");
    let owner = fs::metadata(format!("/proc/{}/environ", watch.pid())).unwrap().uid();
    assert_eq!(owner, 0, "it is dumpable");
}
