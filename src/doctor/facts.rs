//! Facts about a host, read from the kernel and from /proc and /sys.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::host::privilege::{self, CORE, FEATURES, Feature, Missing};
use crate::host::{clock, kernel, pidns, seccomp};
use crate::probe::KernelTypes;
use crate::probe::variants::KernelFacts;

/// Facts about a host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel's release, such as 6.1.0-49-cloud-amd64.
    pub release: String,
    /// The architecture.
    pub machine: String,
    /// Facts from the kernel's BTF; or why there is none.
    pub types: Result<Types, String>,
    /// For each feature, what it lacks.
    pub missing: Vec<(Feature, Missing)>,
    /// True if a seccomp filter refuses bpf(); not known without the capabilities.
    pub seccomp: Option<bool>,
    /// True if our user namespace is not the host's.
    pub in_user_namespace: bool,
    /// How long a tick of the kernel's clock takes.
    pub tick: Duration,
    /// Our own PID, as we see it.
    pub pid: u32,
    /// Facts from files.
    pub files: Files,
}

/// Facts from the kernel's BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    /// Told by a file, and not by the kernel.
    pub from_file: bool,
    /// The tracepoint on TCP states can be attached to directly.
    pub tracepoint: bool,
    /// `iter/task` and `iter/task_file`.
    pub task_iterators: bool,
    /// The ring buffer.
    pub ring_buffer: bool,
    /// The facts that decide which programs are loaded.
    pub kernel: KernelFacts,
    /// BPF's memory counts as locked memory.
    pub counts_locked_memory: bool,
    /// The kernel speaks MPTCP.
    pub mptcp: bool,
}

/// Facts from files in /proc and /sys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The types of file systems that are mounted.
    pub mounted: Vec<String>,
    /// The word in brackets of `none [integrity] confidentiality`.
    pub lockdown: Option<String>,
    /// kernel.unprivileged_bpf_disabled.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// The inode of our PID namespace.
    pub pid_namespace: Option<u32>,
    /// Our PID as /proc numbers us.
    pub proc_self: Option<u32>,
    /// net.mptcp.enabled.
    pub mptcp_enabled: Option<bool>,
    /// How much memory we may lock, in bytes; unlimited is the largest number.
    pub locked_memory: Option<u64>,
}

impl Facts {
    /// Gathers them, on this host, with this file for its BTF if it needs one.
    pub fn gather(btf: Option<&Path>) -> Self {
        Self {
            release: kernel::release(),
            machine: kernel::machine(),
            types: KernelTypes::of_kernel(btf)
                .map(|types| Types::of(&types))
                .map_err(|error| error.to_string()),
            missing: FEATURES.map(|feature| (feature, feature.missing())).into(),
            seccomp: CORE.missing().is_empty().then(seccomp::refuses_bpf),
            in_user_namespace: privilege::in_user_namespace(),
            tick: clock::tick_length(),
            pid: std::process::id(),
            files: Files::read(Path::new("/")),
        }
    }
}

impl Types {
    fn of(kernel: &KernelTypes) -> Self {
        Self {
            from_file: kernel.is_from_file(),
            tracepoint: kernel.has_tracepoint("inet_sock_set_state"),
            task_iterators: kernel.has_struct("bpf_iter__task_file")
                && kernel.has_struct("bpf_iter__task"),
            ring_buffer: kernel.has_helper("bpf_ringbuf_reserve"),
            kernel: KernelFacts::of(kernel),
            counts_locked_memory: kernel.counts_locked_memory(),
            mptcp: kernel.has_struct("mptcp_sock"),
        }
    }
}

impl Files {
    /// Reads them below a root.
    pub fn read(root: &Path) -> Self {
        let proc = root.join("proc");
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let number = |path: &str| text(path).and_then(|text| text.trim().parse::<u32>().ok());
        let mounts = text("proc/self/mounts").unwrap_or_default();
        let limits = text("proc/self/limits").unwrap_or_default();
        Self {
            mounted: mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(2))
                .map(str::to_owned)
                .collect(),
            lockdown: text("sys/kernel/security/lockdown").and_then(|text| in_brackets(&text)),
            unprivileged_bpf_disabled: number("proc/sys/kernel/unprivileged_bpf_disabled"),
            pid_namespace: pidns::of_proc(&proc).ok(),
            proc_self: fs::read_link(proc.join("self"))
                .ok()
                .and_then(|link| link.to_str()?.parse().ok()),
            mptcp_enabled: number("proc/sys/net/mptcp/enabled").map(|enabled| enabled != 0),
            locked_memory: limits.lines().find_map(soft_limit),
        }
    }

    /// Returns true if a file system of this type is mounted.
    pub fn has_mounted(&self, kind: &str) -> bool {
        self.mounted.iter().any(|mounted| mounted == kind)
    }
}

fn in_brackets(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// `Max locked memory         8388608              8388608              bytes`
fn soft_limit(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("Max locked memory")?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A root with these files, under the system's folder for such things.
    struct Root(PathBuf);

    impl Root {
        fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("sockleak-doctor-{test}-{}", std::process::id());
            let root = Self(std::env::temp_dir().join(name));
            fs::create_dir_all(&root.0).unwrap();
            for (path, text) in files {
                let path = root.0.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_read_below_a_root() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         65536                unlimited            bytes\n";
        let root = Root::new(
            "full",
            &[
                (
                    "proc/77/mounts",
                    "proc /proc proc rw 0 0\nt /sys/kernel/tracing tracefs rw 0 0\n",
                ),
                ("proc/77/limits", limits),
                ("proc/77/ns/pid", ""),
                ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
                ("proc/sys/net/mptcp/enabled", "0\n"),
                ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ],
        );
        symlink("77", root.0.join("proc/self")).unwrap();
        let files = Files::read(&root.0);
        let inode = pidns::of_proc(&root.0.join("proc")).unwrap();
        assert_ne!(inode, pidns::INITIAL);
        let wanted = Files {
            mounted: vec!["proc".into(), "tracefs".into()],
            lockdown: Some("integrity".into()),
            unprivileged_bpf_disabled: Some(2),
            pid_namespace: Some(inode),
            proc_self: Some(77),
            mptcp_enabled: Some(false),
            locked_memory: Some(65536),
        };
        assert_eq!(files, wanted);
    }

    #[test]
    fn nothing_is_known_of_an_empty_root() {
        let root = Root::new("empty", &[]);
        assert_eq!(Files::read(&root.0), Files::default());
    }

    #[test]
    fn a_kernel_without_pid_namespaces_has_one() {
        let root = Root::new("one", &[("proc/self/ns/net", "")]);
        assert_eq!(Files::read(&root.0).pid_namespace, Some(pidns::INITIAL));
    }
}
