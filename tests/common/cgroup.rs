//! Control groups with the names that systemd and container runtimes give.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{need_root, wait_until};

/// A hierarchy, and the groups that a test has made in it. They are removed when it is dropped, so its
/// processes have to be dropped first.
pub(crate) struct Cgroups {
    /// Where this test has mounted it. A mount of others may go away at any time.
    root: PathBuf,
    made: Vec<PathBuf>,
    /// A slice of the test's own, in which all of them are.
    pub(crate) slice: String,
}

impl Cgroups {
    /// cgroup v2.
    pub(crate) fn unified() -> Self {
        Self::mounted("cgroup2", None).unwrap()
    }

    /// systemd's own hierarchy of cgroup v1, if this kernel has any.
    pub(crate) fn named() -> nix::Result<Self> {
        Self::mounted("cgroup", Some("none,name=systemd"))
    }

    fn mounted(kind: &str, options: Option<&str>) -> nix::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        need_root();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let slice = format!("sockleak_test_{}_{number}.slice", std::process::id());
        let root = std::env::temp_dir().join(&slice);
        fs::create_dir_all(&root).unwrap();
        mount(Some("none"), &root, Some(kind), MsFlags::empty(), options)
            .inspect_err(|_| drop(fs::remove_dir(&root)))?;
        Ok(Self { root, made: Vec::new(), slice })
    }

    /// Puts a process into a group in the test's own slice.
    pub(crate) fn put(&mut self, path: &str, pid: u32) {
        let folder = self.make(path);
        fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Makes a group in the test's own slice.
    pub(crate) fn make(&mut self, path: &str) -> PathBuf {
        let mut folder = self.root.clone();
        for part in Path::new(&self.slice).join(path).components() {
            folder.push(part);
            match fs::create_dir(&folder) {
                Ok(()) => self.made.push(folder.clone()),
                Err(error) => assert!(folder.is_dir(), "{}: {error}", folder.display()),
            }
        }
        folder
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // A process leaves its group a moment after it has been waited for.
            wait_until("an empty cgroup", || !folder.exists() || fs::remove_dir(folder).is_ok());
        }
        let _ = umount2(&self.root, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.root);
    }
}
