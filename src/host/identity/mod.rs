//! Who a process is: its program, its user, its unit, its container and its pod.
//!
//! All of it comes from /proc/PID, without a daemon's API. The folder is opened once: what is read
//! through it is of the process that it was opened for, even if its number is given again meanwhile,
//! and its start time says whether that is the process that was asked for. What cannot be read is
//! unknown: never somebody else's.

mod cache;
pub mod cgroup;
mod patience;
mod pods;
pub mod users;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::libc;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde::{Serialize, Serializer};

pub use self::cache::{AT_ONCE, Identities};
use self::cgroup::Cgroup;
pub use self::pods::PodLogs;
use super::clock;
use crate::sock::name;

/// How much of the arguments is read: a process can have megabytes of them, and Java's class paths take
/// kilobytes.
const ARGUMENTS: u64 = 16 << 10;
/// How much of them is read where all of them matter: the kernel lets a process have 6 MiB.
const ALL_ARGUMENTS: u64 = 8 << 20;
/// How many digits of a container's ID are shown: as many as `docker ps` shows.
const SHORT_ID: usize = 12;
/// How much of other files is read. A path in /proc/PID/cgroup has at most 4 KiB, and a host of many
/// hierarchies a dozen of them.
const MOST: u64 = 64 << 10;

/// Facts about a process beyond its name; `None` where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The path of its executable, in its own mount namespace; it ends with ` (deleted)` if it has been
    /// deleted or replaced.
    #[serde(serialize_with = "name::serialize_optional")]
    pub exe: Option<String>,
    /// Its arguments, the first 16 KiB of them; if there were more, the last one ends with `…`.
    #[serde(serialize_with = "names")]
    pub cmdline: Option<Vec<String>>,
    /// When it began.
    #[serde(serialize_with = "time")]
    pub started: Option<SystemTime>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// The name of its parent.
    #[serde(serialize_with = "name::serialize_optional")]
    pub parent_comm: Option<String>,
    /// The name of its effective user, as /etc/passwd has it.
    #[serde(serialize_with = "name::serialize_optional")]
    pub user: Option<String>,
    /// The parts of it that have been read: if such a part is `None`, there is none.
    #[serde(skip)]
    pub known: Known,
    /// Its systemd unit.
    #[serde(serialize_with = "name::serialize_optional")]
    pub unit: Option<String>,
    /// If it is of a user's manager: the unit of that.
    #[serde(skip)]
    pub manager: Option<String>,
    /// The slice of that unit.
    #[serde(serialize_with = "name::serialize_optional")]
    pub slice: Option<String>,
    /// The program that runs its container.
    pub runtime: Option<&'static str>,
    /// The ID of its container: 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// The UID of its Kubernetes pod,
    pub pod_uid: Option<String>,
    /// the name of that pod,
    #[serde(serialize_with = "name::serialize_optional")]
    pub pod: Option<String>,
    /// its namespace in the cluster,
    #[serde(serialize_with = "name::serialize_optional")]
    pub namespace: Option<String>,
    /// and the name of its container there.
    #[serde(serialize_with = "name::serialize_optional")]
    pub container: Option<String>,
}

/// The parts of an identity that have been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its executable: a zombie and a kernel thread have none.
    pub exe: bool,
    /// Its arguments.
    pub cmdline: bool,
    /// Its cgroup, and with that its unit, its container and its pod.
    pub cgroup: bool,
    /// That it has ended meanwhile, and holds nothing any more.
    pub ended: bool,
}

impl Known {
    /// Everything.
    pub const ALL: Self = Self { exe: true, cmdline: true, cgroup: true, ended: false };
    const NOTHING: Self = Self { exe: false, cmdline: false, cgroup: false, ended: false };
    const ENDED: Self = Self { ended: true, ..Self::NOTHING };
}

/// A process that is to be identified, as the kernel has told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its number.
    pub pid: u32,
    /// When it began: ns, `CLOCK_BOOTTIME`.
    pub start_boottime: u64,
    /// Its name.
    pub comm: &'a str,
    /// Its effective user.
    pub uid: u32,
}

impl Named<'_> {
    fn key(&self) -> (u32, u64) {
        (self.pid, self.start_boottime)
    }
}

impl Identity {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        exe: None,
        cmdline: None,
        started: None,
        ppid: None,
        parent_comm: None,
        user: None,
        known: Known::NOTHING,
        unit: None,
        manager: None,
        slice: None,
        runtime: None,
        container_id: None,
        pod_uid: None,
        pod: None,
        namespace: None,
        container: None,
    };

    /// Its container, as short as it can be told apart: `shop/web-0/nginx` of a pod, `docker
    /// 0123456789ab` otherwise.
    pub fn container_name(&self) -> Option<String> {
        let id = self.container_id.as_ref()?;
        let short = id.get(..SHORT_ID).unwrap_or(id);
        Some(match (self.pod_name(), &self.container, self.runtime) {
            (Some(pod), Some(container), _) => format!("{pod}/{container}"),
            (Some(pod), None, _) => format!("{pod}/{short}"),
            (None, _, Some(runtime)) => format!("{runtime} {short}"),
            (None, _, None) => format!("container {short}"),
        })
    }

    /// Its pod: `shop/web-0`, or the UID where nothing names it.
    pub fn pod_name(&self) -> Option<String> {
        match (&self.namespace, &self.pod) {
            (Some(namespace), Some(pod)) => Some(format!("{namespace}/{pod}")),
            _ => self.pod_uid.as_ref().map(|uid| format!("pod {uid}")),
        }
    }

    /// Its place on the host in a few words: its container, or else its pod or its unit.
    pub fn place(&self) -> Option<String> {
        let pod_or_unit = || self.pod_name().or_else(|| self.unit.clone());
        self.container_name().or_else(pod_or_unit)
    }

    /// Reads /proc for the process of this number that began then. Users and pods are in other files.
    fn read(&(pid, start_boottime): &(u32, u64)) -> Self {
        let ended = Self { known: Known::ENDED, ..Self::UNKNOWN };
        let Some(folder) = Folder::open(pid) else {
            // /proc may hide it.
            let number = i32::try_from(pid).map(Pid::from_raw);
            let is_gone = number.is_ok_and(|pid| kill(pid, None) == Err(Errno::ESRCH));
            return if is_gone { ended } else { Self::UNKNOWN };
        };
        match folder.stat() {
            Some(stat) if Some(stat.began) == clock::proc_ticks(start_boottime) => {
                let started = clock::time_at(start_boottime);
                Self { started, ..Self::of(&folder, Some(&stat)) }
            }
            // Gone, or another one has its number.
            _ => ended,
        }
    }

    /// Reads /proc for whatever process has this number now.
    fn read_any(&pid: &u32) -> Option<Self> {
        let folder = Folder::open(pid)?;
        Some(Self::of(&folder, folder.stat().as_ref()))
    }

    fn of(folder: &Folder, stat: Option<&Stat>) -> Self {
        let has_ended = stat.is_some_and(|stat| stat.has_ended);
        let survivor = has_ended.then(|| folder.survivor()).flatten();
        let program = survivor.as_ref().unwrap_or(folder);
        let exe = program.exe();
        let cmdline = program.bytes("cmdline", ARGUMENTS + 1);
        let cgroup = folder.text("cgroup", MOST);
        let is_whole = exe.is_ok() && cmdline.is_ok() && cgroup.is_ok();
        let known = Known {
            exe: is_known(&exe),
            cmdline: is_known(&cmdline),
            cgroup: is_known(&cgroup),
            ended: !is_whole && folder.stat().is_none(),
        };
        let cgroup = cgroup.map(|text| Cgroup::parse(&text)).unwrap_or_default();
        let Cgroup { unit, manager, slice, runtime, container_id, pod_uid } = cgroup;
        let parent = stat.and_then(|stat| folder.parent(stat));
        Self {
            exe: exe.ok(),
            cmdline: cmdline.ok().and_then(|bytes| arguments(&bytes)),
            ppid: parent.as_ref().map(|(pid, _)| *pid),
            parent_comm: parent.and_then(|(_, comm)| comm),
            known,
            unit,
            manager,
            slice,
            runtime,
            container_id,
            pod_uid,
            ..Self::UNKNOWN
        }
    }
}

/// The whole command line of a process, with blanks between its arguments.
fn whole_command(&pid: &u32) -> Option<String> {
    // One that has ended meanwhile has none.
    let Some(folder) = Folder::open(pid) else { return Some(String::new()) };
    let program = folder.survivor().unwrap_or(folder);
    match program.bytes("cmdline", ALL_ARGUMENTS) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).replace('\0', " ")),
        read => is_known(&read).then(String::new),
    }
}

/// True for what was read, and for what is not there.
fn is_known<T>(read: &io::Result<T>) -> bool {
    let errno = read.as_ref().err().map(io::Error::raw_os_error);
    errno.is_none_or(|errno| [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&errno))
}

/// The folder of a process in /proc.
struct Folder(OwnedFd);

/// Fields of /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// The parent, 0 for one that we cannot see.
    ppid: u32,
    /// When it began, in ticks.
    began: u64,
    /// It is a zombie.
    has_ended: bool,
}

impl Folder {
    fn open(pid: u32) -> Option<Self> {
        let path = Path::new("/proc").join(pid.to_string());
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        open(&path, flags, Mode::empty()).ok().map(Self)
    }

    /// The folder of a thread that still runs, where the leader has ended before its other threads: what
    /// they run is told by them alone.
    fn survivor(&self) -> Option<Self> {
        let has_ended = |folder: &Self| folder.stat().is_none_or(|stat| stat.has_ended);
        if !has_ended(self) {
            return None;
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut threads = Dir::openat(self.0.as_fd(), "task", flags, Mode::empty()).ok()?;
        threads.iter().flatten().find_map(|entry| {
            let name = entry.file_name().to_bytes();
            let path = Path::new("task").join(OsStr::from_bytes(name));
            let thread = (!name.starts_with(b".")).then(|| self.folder(&path))??;
            (!has_ended(&thread)).then_some(thread)
        })
    }

    fn folder(&self, path: &Path) -> Option<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        openat(self.0.as_fd(), path, flags, Mode::empty()).ok().map(Self)
    }

    /// A file's first bytes.
    fn bytes(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(self.0.as_fd(), name, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&self, name: &str, most: u64) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(name, most)?).into_owned())
    }

    fn stat(&self) -> Option<Stat> {
        stat(&self.text("stat", MOST).ok()?)
    }

    fn comm(&self) -> Option<String> {
        let text = self.text("comm", MOST).ok()?;
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    fn exe(&self) -> io::Result<String> {
        let path = readlinkat(self.0.as_fd(), "exe")?;
        Ok(String::from_utf8_lossy(&path.into_vec()).into_owned())
    }

    /// The parent, and its name. That is read between two looks at who the parent is: it lived then, and
    /// its number was its own.
    fn parent(&self, stat: &Stat) -> Option<(u32, Option<String>)> {
        let parent = stat.ppid;
        if parent == 0 {
            return None;
        }
        let comm = Self::open(parent).and_then(|folder| folder.comm());
        (self.stat()?.ppid == parent).then_some((parent, comm))
    }
}

/// Reads /proc/PID/stat. A name in brackets may contain anything.
fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    Some(Stat {
        has_ended: ["Z", "X"].contains(&fields.next()?),
        ppid: fields.next()?.parse().ok()?,
        began: fields.nth(17)?.parse().ok()?,
    })
}

/// Splits /proc/PID/cmdline. Nothing at all is no list of arguments: a zombie's, or a kernel thread's.
fn arguments(bytes: &[u8]) -> Option<Vec<String>> {
    let most = usize::try_from(ARGUMENTS).unwrap_or(usize::MAX);
    let is_cut = bytes.len() > most;
    let bytes = &bytes[..bytes.len().min(most)];
    // A program that writes a title over its arguments fills the rest with zeros.
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    let text = |argument| String::from_utf8_lossy(argument).into_owned();
    let mut arguments: Vec<_> = bytes[..end].split(|&byte| byte == 0).map(text).collect();
    if let Some(last) = arguments.last_mut().filter(|_| is_cut) {
        // The cut may have halved a character.
        let whole = last.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        last.truncate(whole);
        last.push('…');
    }
    Some(arguments)
}

fn names<S: Serializer>(names: &Option<Vec<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    let harmless = |names: &Vec<String>| -> Vec<_> {
        names.iter().map(|one| name::sanitised(one).into_owned()).collect()
    };
    names.as_ref().map(harmless).serialize(serializer)
}

fn time<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| clock::rfc3339(time).to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests;
