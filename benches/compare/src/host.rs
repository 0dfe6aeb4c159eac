//! The machine and the versions: every figure depends on them.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;
use serde::Serialize;

use crate::options::Options;
use crate::parse;

/// The machine and the versions of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Host {
    pub(crate) date: String,
    pub(crate) revision: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: u64,
    pub(crate) descriptors_per_process: u64,
    /// Before the run, of all that the machine does.
    pub(crate) load_average: String,
    /// Before the run.
    pub(crate) processes: usize,
    /// Leaked sockets that were there before the run: `sockleak` has to look after them, too.
    pub(crate) leaked_before: usize,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) quick: bool,
}

pub(crate) fn describe(options: &Options) -> Result<Host> {
    let uname = uname()?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = field(&meminfo, "MemTotal");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let sockleak = options.sockleak.to_string_lossy().into_owned();
    let other = options.against.as_ref().map(|other| other.to_string_lossy().into_owned());
    let mut versions = vec![
        ("sockleak", vec![sockleak.as_str(), "--version"]),
        ("ss", vec!["ss", "-V"]),
        ("lsof", vec!["lsof", "-v"]),
        ("tcpstates", vec!["tcpstates", "--version"]),
        ("bpftrace", vec!["bpftrace", "--version"]),
    ];
    if let Some(other) = &other {
        versions.push(("the other sockleak", vec![other.as_str(), "--version"]));
    }
    Ok(Host {
        date: said(&["date", "--utc", "+%F %H:%M UTC"]),
        revision: said(&["git", "describe", "--always", "--dirty"]),
        kernel: format!(
            "{} {} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy(),
            uname.machine().to_string_lossy()
        ),
        cpu: field(&cpuinfo, "model name"),
        cpus: std::thread::available_parallelism()?.get(),
        memory_gib: (kib + (1 << 19)) >> 20,
        descriptors_per_process: getrlimit(Resource::RLIMIT_NOFILE)?.1,
        load_average: fs::read_to_string("/proc/loadavg")?
            .split(' ')
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
        processes: processes()?,
        leaked_before: leaked(options)?,
        versions: versions
            .into_iter()
            .map(|(name, command)| (name.to_owned(), said(&command)))
            .collect(),
        quick: options.quick,
    })
}

/// Counts the processes of this machine.
fn processes() -> Result<usize> {
    let is_number = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter(|entry| is_number(&entry.file_name())).count())
}

/// Counts the leaked sockets of this machine.
fn leaked(options: &Options) -> Result<usize> {
    let output = Command::new(&options.sockleak).args(["list", "--json"]).output();
    let output = output.with_context(|| format!("cannot run {}", options.sockleak.display()))?;
    Ok(parse::sockleak_json(&String::from_utf8_lossy(&output.stdout)).len())
}

/// The line of a command's output that has its version: the first, or that of the revision.
fn said(command: &[&str]) -> String {
    let Ok(output) = Command::new(command[0]).args(&command[1..]).output() else {
        return "not installed".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // lsof prints its version in the middle.
    let revision = text.lines().find_map(|line| line.trim().strip_prefix("revision: "));
    revision.or_else(|| lines.next()).unwrap_or("unknown").to_owned()
}
