//! A real container with a leak: podman with runc, where the machine has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use super::need_root;

/// The program of the container holds the socket that `nc` accepted; the client leaves after a second.
const LEAK: &str = "nc -l -p 8080 -e sleep 1000 & sleep 1; timeout 1 nc 127.0.0.1 8080; sleep 1000";

/// A container, with storage of its own. It is removed when it is dropped.
pub(crate) struct Container {
    pub(crate) folder: PathBuf,
    pub(crate) id: String,
}

impl Container {
    /// Starts it, if that can be done here.
    pub(crate) fn start() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        need_root();
        let folder = std::env::temp_dir().join(format!(
            "sockleak-podman-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        let bin = folder.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        let mut container = Self { folder, id: String::new() };
        fs::copy("/bin/busybox", bin.join("busybox"))
            .map_err(|error| format!("busybox: {error}"))?;
        for applet in ["sh", "nc", "sleep", "timeout"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let rootfs = container.folder.join("rootfs");
        let mut command = container.podman();
        command.args(["run", "--detach", "--network", "none"]).args(Self::LIMITS);
        command.arg("--rootfs").arg(rootfs).args(["/bin/sh", "-c", LEAK]);
        let Output { status, stdout, stderr } =
            command.output().map_err(|error| format!("podman: {error}"))?;
        if !status.success() {
            return Err(String::from_utf8_lossy(&stderr).trim().to_owned());
        }
        container.id = String::from_utf8(stdout).unwrap().trim().to_owned();
        Ok(container)
    }

    /// podman, with storage of this container's own.
    pub(crate) fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.args([
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "--storage-driver",
            "vfs",
        ]);
        command.arg("--root").arg(self.folder.join("storage"));
        command.arg("--runroot").arg(self.folder.join("run"));
        command
    }

    /// Limits that a machine without more than these can give.
    pub(crate) const LIMITS: [&'static str; 4] =
        ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

    /// The number of its first process.
    pub(crate) fn pid(&self) -> u32 {
        let mut command = self.podman();
        let said = command.args(["inspect", "-f", "{{.State.Pid}}", &self.id]).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            let _ = self.podman().args(["rm", "-f", "-t", "0", &self.id]).output();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
