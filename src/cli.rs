//! The command line. The one place where flags are defined.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::host::netns;
use crate::host::privilege;
use crate::report::SortKey;
use crate::report::filter::{Address, Filter};
use crate::report::group::GroupBy;
use crate::sock::leak::Verdict;
use crate::sock::state::StateSet;

const EXIT_CODES: &str = "\
Exit codes: 0 nothing leaked, 1 leaked, 2 usage, 3 could not run, 4 the answer may be incomplete.";

/// Finds leaked TCP sockets: connections whose peer is gone and whose program never closed them.
///
/// Says which process and descriptor hold them, for how long, and what kind of bug it is. Without
/// a subcommand: watch.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; nothing means `watch`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What `watch` takes.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is leaked, live; print nothing while nothing is
    #[command(after_help = EXIT_CODES)]
    Watch(Box<WatchArgs>),
    /// Show what is leaked now, and exit
    #[command(after_help = EXIT_CODES)]
    List(Box<ReportArgs>),
    /// Show every TCP state transition as it happens
    ///
    /// A PID is shown only for transitions that the running task makes: connect() leaving CLOSE,
    /// and close() or exit leaving CLOSE_WAIT. All others are made by packets and timers, under
    /// whatever task they interrupt.
    Events(Box<EventsArgs>),
    /// Show what this host allows, and whether planted leaks are found
    ///
    /// A line for each thing that matters: ok, missing (nothing works without), or limited. At the
    /// end, a leak of each kind is planted in a network namespace of its own, or on loopback, and
    /// found. The exit code is 0, or 3 where sockleak cannot work.
    #[command(after_long_help = privilege::manual())]
    Doctor(Box<DoctorArgs>),
}

/// The options of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// What reports share.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The options of everything that reports leaked sockets.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Only sockets in these states, `all` for every one; listeners only where a process has them
    /// open [default: close-wait, and what a RST turns it into]
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<StateSet>,
    /// Only sockets stranded for so long, provably (of established ones: idle for so long)
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub min_age: Option<Duration>,
    /// Only sockets held by these processes
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = pid)]
    pub pid: Vec<u32>,
    /// Only sockets held by processes with this name
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Only sockets held by processes with these effective user IDs
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub uid: Vec<u32>,
    /// Which connections.
    #[command(flatten)]
    pub conn: ConnArgs,
    /// What comes first
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,
    /// Count rows by what they have in common
    #[arg(long, value_name = "WHAT", value_enum)]
    pub group_by: Option<GroupBy>,
    /// Leave out the line above the columns
    #[arg(long)]
    pub no_headers: bool,
    /// Explain a verdict, with the usual causes and cures, and exit
    #[arg(long, value_name = "VERDICT")]
    pub explain: Option<Verdict>,
    /// In which form.
    #[command(flatten)]
    pub format: FormatArgs,
    /// What the kernel side needs.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// The options of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only transitions into or out of these states [default: all]
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<StateSet>,
    /// Which connections.
    #[command(flatten)]
    pub conn: ConnArgs,
    /// Leave out the line above the columns
    #[arg(long)]
    pub no_headers: bool,
    /// In which form.
    #[command(flatten)]
    pub format: FormatArgs,
    /// What the kernel side needs.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// The options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// In which form.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Where types come from.
    #[command(flatten)]
    pub btf: BtfArgs,
}

/// Which connections.
#[derive(Debug, Args)]
pub struct ConnArgs {
    /// Only with this local end: ADDR[/BITS][:PORT], IPv6 in brackets before a port
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub local: Vec<Address>,
    /// Only with this remote end, likewise
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub remote: Vec<Address>,
    /// Only with this port at either end
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub port: Vec<u16>,
    /// Only in this network namespace: its inode, or a path such as /run/netns/NAME
    #[arg(long, value_name = "NETNS", value_parser = network_namespace)]
    pub netns: Vec<u32>,
}

/// In which form.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// For people, or for programs: one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Short for --format json
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "format")]
    json: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the kernel side needs.
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// How many bytes of events may wait: a power of two, at least a page
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = ring_size)]
    pub ring_size: u32,
    /// Where types come from.
    #[command(flatten)]
    pub btf: BtfArgs,
}

/// Where the kernel's type information comes from.
#[derive(Debug, Args)]
pub struct BtfArgs {
    /// A copy of this kernel's /sys/kernel/btf/vmlinux, for where that is hidden
    ///
    /// It helps where /sys is not mounted or not shown, and needs CAP_SYS_ADMIN. It cannot help a
    /// kernel that was built without CONFIG_DEBUG_INFO_BTF: such a kernel can attach nothing.
    #[arg(long = "btf", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl FormatArgs {
    /// The form that was asked for.
    pub fn get(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

impl ReportArgs {
    /// The states to watch.
    pub fn watched(&self) -> StateSet {
        match self.state.is_empty() {
            true => StateSet::CLOSE_WAIT,
            false => self.state.iter().copied().collect(),
        }
    }

    /// The rows to show.
    pub fn filter(&self) -> Filter {
        Filter {
            min_age: self.min_age,
            pid: self.pid.clone(),
            comm: self.comm.clone(),
            uid: self.uid.clone(),
            ..self.conn.filter()
        }
    }
}

impl EventsArgs {
    /// The states whose edges to show.
    pub fn transitions(&self) -> StateSet {
        match self.state.is_empty() {
            true => StateSet::ALL,
            false => self.state.iter().copied().collect(),
        }
    }
}

impl ConnArgs {
    /// The connections to show.
    pub fn filter(&self) -> Filter {
        Filter {
            local: self.local.clone(),
            remote: self.remote.clone(),
            port: self.port.clone(),
            netns: self.netns.clone(),
            ..Filter::default()
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match interval.is_zero() {
        true => Err("it must be longer than nothing".to_owned()),
        false => Ok(interval),
    }
}

fn pid(text: &str) -> Result<u32, String> {
    let pid: u32 = text.parse().map_err(|_| "it is not a process ID".to_owned())?;
    // Not by way of /proc, which may be another PID namespace's, or hide what is not ours.
    let number = i32::try_from(pid).ok().filter(|&pid| pid > 0);
    match number.map(|pid| kill(Pid::from_raw(pid), None)) {
        Some(Ok(()) | Err(Errno::EPERM)) => Ok(pid),
        _ => Err("there is no such process here".to_owned()),
    }
}

fn network_namespace(text: &str) -> Result<u32, String> {
    text.parse().or_else(|_| netns::inode(Path::new(text))).map_err(|error| {
        format!("{error}; give an inode, or a path such as /run/netns/NAME or /proc/PID/ns/net")
    })
}

fn ring_size(text: &str) -> Result<u32, String> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u32::try_from(page).ok()).unwrap_or(4096);
    let wanted = format!("give a power of two from {page} to 1GiB, such as 4MiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(wanted),
    };
    let size = digits.parse().ok().and_then(|number: u32| number.checked_mul(1 << shift));
    size.filter(|size| size.is_power_of_two() && (page..=1 << 30).contains(size)).ok_or(wanted)
}

/// A usage error in one line, with the flag and what to do.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let parts: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Usage:"))
        .collect();
    parts
        .join(" ")
        .trim_start_matches("error: ")
        .replace("For more information, try", "; try")
        .replace(" ;", ";")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_is_watch_and_takes_its_options() {
        let cli = Cli::try_parse_from(["sockleak", "--interval", "5s", "--json"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.watch.interval, Duration::from_secs(5));
        assert_eq!(cli.watch.report.format.get(), Format::Json);
        assert_eq!(cli.watch.report.watched(), StateSet::CLOSE_WAIT);
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("4MiB"), Ok(4 << 20));
        assert_eq!(ring_size("64k"), Ok(64 << 10));
        assert_eq!(ring_size("1048576"), Ok(1 << 20));
        for bad in ["", "3MiB", "1k", "100", "4TiB", "8GiB", "-4096", "4 MiB"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn usage_errors_take_one_line_and_name_the_flag() {
        for bad in [
            ["--min-age", "5"],
            ["--state", "closed"],
            ["--local", "10.0.0.0/33"],
            ["--ring-size", "3MiB"],
            ["--jsno", "x"],
        ] {
            let error = Cli::try_parse_from(["sockleak", bad[0], bad[1]]).unwrap_err();
            let line = one_line(&error);
            assert!(!line.contains('\n') && line.contains(bad[0]), "{line}");
            assert!(line.contains("--help"), "{line}");
        }
    }
}
