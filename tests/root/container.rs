//! A leak in a real container: podman with runc, where the machine has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::common::tool::{list_in, sockleak};
use crate::common::{need_root, not_possible, wait_until};

/// The program of the container holds the socket that `nc` accepted; the client leaves after a second.
const LEAK: &str = "nc -l -p 8080 -e sleep 1000 & sleep 1; timeout 1 nc 127.0.0.1 8080; sleep 1000";

/// A container, with storage of its own. It is removed when it is dropped.
struct Container {
    folder: PathBuf,
    id: String,
}

impl Container {
    /// Starts it, if that can be done here.
    fn start() -> Result<Self, String> {
        need_root();
        let folder = std::env::temp_dir().join(format!("sockleak-podman-{}", std::process::id()));
        let bin = folder.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        let mut container = Self { folder, id: String::new() };
        fs::copy("/bin/busybox", bin.join("busybox"))
            .map_err(|error| format!("busybox: {error}"))?;
        for applet in ["sh", "nc", "sleep", "timeout"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let rootfs = container.folder.join("rootfs");
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
        let mut command = container.podman();
        command.args(["run", "--detach", "--network", "none"]).args(limits);
        command.arg("--rootfs").arg(rootfs).args(["/bin/sh", "-c", LEAK]);
        let Output { status, stdout, stderr } =
            command.output().map_err(|error| format!("podman: {error}"))?;
        if !status.success() {
            return Err(String::from_utf8_lossy(&stderr).trim().to_owned());
        }
        container.id = String::from_utf8(stdout).unwrap().trim().to_owned();
        Ok(container)
    }

    fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        command.arg("--root").arg(self.folder.join("storage"));
        command.arg("--runroot").arg(self.folder.join("run"));
        command
    }

    /// The number of its first process.
    fn pid(&self) -> u32 {
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

#[test]
fn a_leak_in_a_real_container_names_it() {
    let container = match Container::start() {
        Ok(container) => container,
        Err(why) => {
            return not_possible("container::a_leak_in_a_real_container_names_it", why);
        }
    };
    let namespace = format!("/proc/{}/ns/net", container.pid());
    let netns = sockleak::host::netns::inode(namespace.as_ref()).unwrap();
    let report = || list_in(netns.into(), &[]);
    wait_until("the client has left", || !report().sockets.is_empty());
    let report = report();
    let of = report.process(report.only_row().pid.unwrap()).unwrap();
    assert_eq!(of.container_id.as_ref(), Some(&container.id));
    assert_eq!((of.runtime.as_deref(), of.pod_uid.as_ref()), (Some("podman"), None));
    assert_eq!(of.exe.as_deref(), Some("/bin/busybox"), "as the container has it");
    assert_eq!(of.cmdline.as_deref(), Some(&["sleep", "1000"].map(str::to_owned)[..]));
    let short = &container.id[..12];
    let text = sockleak(&["list", "--container", short]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(text.text().contains(&format!("in podman {short}: 1 leaked")), "{text:?}");
}
