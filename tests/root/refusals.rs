//! What the tool says when it cannot run: exit code 3, what is missing, and the remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::common::need_root;
use crate::common::tool::{Ran, binary, sockleak};

pub(crate) const NOBODY: u32 = 65534;

/// A copy of the tool that everybody may execute, wherever the original is.
pub(crate) struct Public(pub(crate) PathBuf);

impl Public {
    pub(crate) fn new(test: &str) -> Self {
        need_root();
        let name = format!("sockleak-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // By another process: a child that a test beside this one forks would hold it open for
        // writing, and what is being written cannot be executed.
        let copied = Command::new("cp").arg(binary()).arg(&path).status().unwrap();
        assert!(copied.success(), "{copied}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn without_privilege() {
    let tool = Public::new("privilege");
    for subcommand in ["list", "watch", "events"] {
        let ran = Ran::of(Command::new(&tool.0).arg(subcommand).uid(NOBODY).gid(NOBODY));
        assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains("CAP_BPF"), "{ran:?}");
        assert!(ran.stderr.contains("root") || ran.stderr.contains("sudo"), "{ran:?}");
    }
}

/// What needs no privilege works without.
#[test]
fn help_without_privilege() {
    let tool = Public::new("help");
    for arguments in [&["--help"][..], &["--version"], &["--explain", "reset"]] {
        let ran = Ran::of(Command::new(&tool.0).args(arguments).uid(NOBODY).gid(NOBODY));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    }
    let ran = Ran::of(Command::new(&tool.0).args(["list", "--min-age", "soon"]).uid(NOBODY));
    assert_eq!(ran.code, Some(2), "a usage error comes first: {ran:?}");
}

/// Runs the tool where each of these folders is empty.
pub(crate) fn with_empty(folders: &[&str]) -> Ran {
    need_root();
    thread::scope(|scope| {
        let run = || {
            // Of this thread and its children only.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            for folder in folders.iter().filter(|folder| Path::new(folder).is_dir()) {
                let tmpfs = Some("tmpfs");
                mount(tmpfs, *folder, tmpfs, MsFlags::empty(), None::<&str>).unwrap();
            }
            sockleak(&["list"])
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn without_type_information() {
    // libbpf looks for a copy of it in the other folders.
    let ran = with_empty(&["/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug"]);
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("CONFIG_DEBUG_INFO_BTF"), "{ran:?}");
}
