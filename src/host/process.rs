//! Processes, as /proc shows them.

use std::fs;
use std::io::ErrorKind;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::netns;

/// Kinds of numbers in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process that runs.
    Process,
    /// A thread of this process.
    ThreadOf(u32),
    /// A process that has ended, and that its parent has not asked after.
    Zombie,
}

/// The kind of this number; `None` where /proc does not show it.
pub fn kind(pid: u32) -> Option<Kind> {
    kind_in(pid, &fs::read_to_string(folder(pid).join("status")).ok()?)
}

fn kind_in(pid: u32, status: &str) -> Option<Kind> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    let leader = field("Tgid:")?.parse().ok()?;
    // A leader may end before its other threads do: then its process runs.
    let is_last = field("Threads:").is_none_or(|threads| threads == "1");
    Some(match field("State:")? {
        _ if leader != pid => Kind::ThreadOf(leader),
        "Z" | "X" if is_last => Kind::Zombie,
        _ => Kind::Process,
    })
}

/// Every process that /proc shows.
pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The name that `ps -o comm` prints: at most 15 bytes.
pub fn comm(pid: u32) -> Option<String> {
    let comm = fs::read(folder(pid).join("comm")).ok()?;
    Some(String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned())
}

/// Its names in full: the base names of its first argument, and of its executable.
pub fn full_names(pid: u32) -> Vec<String> {
    // A leader that has ended has lost them; its other threads keep them.
    let folders = iter::once(folder(pid)).chain(threads(pid).into_iter().flatten());
    folders.map(|folder| names_in(&folder)).find(|names| !names.is_empty()).unwrap_or_default()
}

fn names_in(folder: &Path) -> Vec<String> {
    let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
    let first = arguments.split(|&byte| byte == 0).next().unwrap_or_default();
    let executable = fs::read_link(folder.join("exe")).unwrap_or_default();
    let executable = executable.as_os_str().as_bytes();
    let executable = executable.strip_suffix(b" (deleted)").unwrap_or(executable);
    let mut names: Vec<_> = [first, executable].into_iter().filter_map(base_name).collect();
    names.dedup();
    names
}

fn base_name(path: &[u8]) -> Option<String> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// True if it has files in the table of an io_uring, as far as we may see; to be asked before
/// privileges are given up.
pub fn has_files_in_rings(pid: u32) -> bool {
    let files = |fdinfo: String| {
        let count = fdinfo.lines().find_map(|line| line.strip_prefix("UserFiles:"));
        count.and_then(|count| count.trim().parse::<u32>().ok()).unwrap_or(0)
    };
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_ring = |fd: &fs::DirEntry| {
        fs::read_link(fd.path()).is_ok_and(|file| file == Path::new("anon_inode:[io_uring]"))
    };
    fds.filter(is_ring).any(|fd| {
        let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy());
        fs::read_to_string(info).is_ok_and(|info| files(info) > 0)
    })
}

/// True if it has this name, in full or as `ps -o comm` prints it.
pub fn has_name(pid: u32, name: &str) -> bool {
    comm(pid).is_some_and(|comm| comm == name) || full_names(pid).iter().any(|full| full == name)
}

/// Its effective user.
pub fn user(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(folder(pid).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The network namespaces of its threads; `None` where we may not know.
pub fn network_namespaces(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for thread in threads(pid)? {
        match netns::inode(&thread.join("ns/net")) {
            Ok(inode) => found.push(inode),
            // A thread that has ended is in none.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(found)
}

/// The folders of its threads, the leader's among them; `None` where we may not see them.
fn threads(pid: u32) -> Option<impl Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder(pid).join("task")).ok()?.flatten();
    Some(entries.map(|thread| thread.path()))
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_threads_and_zombies_are_told_apart() {
        let status = |state, tgid, threads| {
            format!("Name:\tx\nState:\t{state} (y)\nTgid:\t{tgid}\nPid:\t7\nThreads:\t{threads}\n")
        };
        assert_eq!(kind_in(7, &status("S", 7, 1)), Some(Kind::Process));
        assert_eq!(kind_in(7, &status("S", 5, 3)), Some(Kind::ThreadOf(5)));
        assert_eq!(kind_in(7, &status("Z", 7, 1)), Some(Kind::Zombie));
        assert_eq!(kind_in(7, &status("Z", 7, 2)), Some(Kind::Process), "its threads run");
        assert_eq!(kind_in(7, ""), None);
        assert_eq!(kind(std::process::id()), Some(Kind::Process));
    }

    #[test]
    fn a_name_is_the_last_part_of_a_path() {
        assert_eq!(base_name(b"/usr/bin/python3.11").as_deref(), Some("python3.11"));
        assert_eq!(base_name(b"nginx: master process /usr/sbin/nginx").as_deref(), Some("nginx"));
        assert_eq!(base_name(b""), None);
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().to_str().unwrap();
        assert!(own.len() > 15 && has_name(std::process::id(), own), "{own}");
        assert!(!has_name(std::process::id(), "nobody"));
    }
}
