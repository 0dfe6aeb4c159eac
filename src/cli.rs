//! The parts of the command line that subcommands share: options, how their values are parsed, and
//! what a usage error says. The options of one subcommand are in its own file, in `command`.

mod format;
mod pace;
mod select;
mod usage;
pub(crate) mod value;
pub(crate) mod words;

use std::path::PathBuf;
use std::time::Duration;

use caps::Capability;
use clap::{Args, ValueHint};

pub use self::format::{Colour, Format, FormatArgs, MetricsArgs};
pub use self::pace::PaceArgs;
pub use self::select::{JudgeArgs, SelectArgs};
pub use self::usage::one_line;
use self::words::{ColumnParser, Picked};
use crate::host::identity::users;
use crate::live::monitor::Rules;
use crate::probe::Config;
use crate::report::column::{Column, Columns};
use crate::report::filter::{Address, Filter, Pattern, PodName, Whose};
use crate::report::group::GroupBy;
use crate::report::{Query, Shown, SortKey};
use crate::sock::state::StateSet;

/// Lets /proc tell the executables and namespaces of other users' processes: see
/// `privilege::PROCESSES`.
const PROCESSES: Capability = Capability::CAP_SYS_PTRACE;
/// The same, and lets root write a file into a folder of another user's, and give it to that user.
pub(crate) const WRITING: &[Capability] =
    &[PROCESSES, Capability::CAP_DAC_OVERRIDE, Capability::CAP_CHOWN];

/// Sections of the help.
pub(crate) const WHAT: &str = "What to show";
pub(crate) const WHICH: &str = "Which sockets";
pub(crate) const HOW: &str = "How to show it";
pub(crate) const KERNEL: &str = "The kernel side";

/// The options of everything that reports leaked sockets.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Which rows.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Whose sockets.
    #[command(flatten)]
    pub who: WhoArgs,
    /// Which processes.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// Which connections.
    #[command(flatten)]
    pub conn: ConnArgs,
    /// How to show them.
    #[command(flatten)]
    pub how: HowArgs,
    /// In which form.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Options of the kernel side.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Which rows.
#[derive(Debug, Args)]
#[command(next_help_heading = WHAT)]
pub struct WhatArgs {
    /// Also show and count what is stranded: connections that are not over, but stand still
    #[arg(long, conflicts_with = "state")]
    pub stranded: bool,
    /// List every socket in these states, leaked or not; `all` for all states
    ///
    /// Listeners are listed only where a process has them open.
    ///
    /// Example: -s fin-wait-2,last-ack
    #[arg(short, long, value_name = "STATE", value_delimiter = ',', value_parser = words::states())]
    pub state: Vec<StateSet>,
    /// How they are judged.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Count sockets by what they have in common, instead of listing them
    #[arg(long, value_name = "WHAT", value_enum)]
    pub group_by: Option<GroupBy>,
    /// Name the process that holds the other end, if it is on this host
    #[arg(long)]
    pub peer: bool,
    /// Show a line for each process, and no rows
    #[arg(long, conflicts_with_all = ["rows", "all", "columns", "group_by", "peer"])]
    pub summary: bool,
}

/// Whose sockets, and how old.
#[derive(Debug, Args)]
#[command(next_help_heading = WHICH)]
pub struct WhoArgs {
    /// Only sockets held by these processes
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = value::pid)]
    pub pid: Vec<u32>,
    /// Only sockets held by processes with one of these names: as `ps -o comm` prints it, or the base
    /// name of the first argument or of the executable
    #[arg(short, long, value_name = "NAME", value_delimiter = ',', value_parser = value::name)]
    pub comm: Vec<String>,
    /// Only sockets held by processes with these effective user IDs
    #[arg(long, value_name = "UID", value_delimiter = ',', value_parser = value::uid)]
    pub uid: Vec<u32>,
    /// Only sockets held by processes of these users, by name (as in /etc/passwd) or number
    #[arg(short, long, value_name = "USER", value_delimiter = ',', value_parser = users::uid)]
    pub user: Vec<u32>,
    /// Only sockets that have provably been in their state for so long (where IDLE is shown: idle)
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub min_age: Option<Duration>,
    /// Leave out known leaks: KEY=VALUE,…, such as port=9000,verdict=eof-read; may be repeated
    ///
    /// Keys are pid, comm, uid, user, exe, cmd, unit, container, pod, local, remote, port, netns, state
    /// and verdict. All keys of a filter have to match; a key given twice matches either value.
    ///
    /// Example: --not comm=haproxy,port=9000
    #[arg(long, value_name = "FILTER")]
    pub not: Vec<Filter>,
}

/// Who holds them.
#[derive(Debug, Args)]
#[command(next_help_heading = WHICH)]
pub struct WhoseArgs {
    /// Only sockets held by processes that run one of these executables: a path, or its base name
    ///
    /// To read it of other users' processes takes CAP_SYS_PTRACE, which is kept for it.
    ///
    /// Example: --exe nginx,/opt/shop/bin/shop
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = value::text)]
    pub exe: Vec<String>,
    /// Only sockets held by processes whose command line has this in it; * stands for anything
    ///
    /// Arguments are joined by spaces.
    ///
    /// Example: --cmd 'java*shop.jar'
    #[arg(long, value_name = "PATTERN")]
    pub cmd: Vec<Pattern>,
    /// Only sockets held by processes in one of these systemd units; `.service` may be left out
    #[arg(long, value_name = "UNIT", value_delimiter = ',', value_parser = value::text)]
    pub unit: Vec<String>,
    /// Only sockets held in one of these containers: the first digits of an ID, or the name of a pod's
    /// container
    ///
    /// Names that docker and podman give are not known: only they know them.
    ///
    /// Example: --container 4fd1c9
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',', value_parser = value::text)]
    pub container: Vec<String>,
    /// Only sockets held in one of these Kubernetes pods
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',')]
    pub pod: Vec<PodName>,
    /// The folder of pods' logs: the names of pods and containers come from there
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/log/pods",
        value_hint = ValueHint::DirPath
    )]
    pub pod_logs: PathBuf,
}

/// Which connections.
#[derive(Debug, Args)]
#[command(next_help_heading = WHICH)]
pub struct ConnArgs {
    /// Only with this local end: ADDR, ADDR/BITS, ADDR:PORT or :PORT; IPv6 in brackets before a port
    #[arg(long, value_name = "ADDR[:PORT]", value_delimiter = ',')]
    pub local: Vec<Address>,
    /// Only with this remote end, in the same forms
    #[arg(long, value_name = "ADDR[:PORT]", value_delimiter = ',')]
    pub remote: Vec<Address>,
    /// Only with this port at either end
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub port: Vec<u16>,
    /// Only in these network namespaces: an inode, or a path such as /run/netns/NAME
    #[arg(
        long,
        value_name = "NETNS",
        value_delimiter = ',',
        value_parser = value::network_namespace,
        value_hint = ValueHint::FilePath
    )]
    pub netns: Vec<u32>,
}

/// How to show rows.
#[derive(Debug, Args)]
#[command(next_help_heading = HOW)]
pub struct HowArgs {
    /// Show at most so many rows; on a terminal the default is as many as fit
    #[arg(short = 'n', long, value_name = "ROWS", value_parser = value::count, conflicts_with = "all")]
    pub rows: Option<usize>,
    /// Show all rows, also on a terminal
    #[arg(short, long)]
    pub all: bool,
    /// Show these columns, or with a plus: these besides the usual ones
    ///
    /// Example: -o pid,fd,verdict, or: -o +since,received
    #[arg(short = 'o', long, value_name = "[+]COL", value_delimiter = ',', value_parser = ColumnParser, conflicts_with = "group_by")]
    pub columns: Vec<Picked>,
    /// Sort rows by this
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,
    /// Leave out the line above the columns
    #[arg(long)]
    pub no_headers: bool,
    /// Use colours
    #[arg(long = "color", value_name = "WHEN", value_enum, default_value_t)]
    pub colour: Colour,
}

/// Options of the kernel side.
#[derive(Debug, Args)]
#[command(next_help_heading = KERNEL)]
pub struct KernelArgs {
    /// Buffer so many bytes of events: a power of two, at least a page
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = value::ring_size)]
    pub ring_size: u32,
    /// Where types come from.
    #[command(flatten)]
    pub btf: BtfArgs,
}

/// Where the kernel's type information comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = KERNEL)]
pub struct BtfArgs {
    /// A copy of this kernel's /sys/kernel/btf/vmlinux, for where that is hidden
    ///
    /// It helps where /sys is not mounted or not shown, and needs CAP_SYS_ADMIN. It cannot help a
    /// kernel that was built without CONFIG_DEBUG_INFO_BTF: such a kernel can attach nothing.
    ///
    /// Example: --btf /root/vmlinux.btf
    #[arg(long = "btf", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

impl ReportArgs {
    /// The programs to load: those that scan, and if `follow`, those that see sockets change state.
    pub(crate) fn config(&self, follow: bool) -> Config {
        let followed = StateSet::CLOSE_WAIT.union(self.states());
        Config {
            watched: self.rules().watched,
            transitions: if follow { followed } else { StateSet::NONE },
            scans: true,
            ring_size: self.kernel.ring_size,
            btf: self.kernel.btf.file.clone(),
            // `list` ends soon; `watch` keeps nothing for days that nobody asked for.
            kept: if follow && !self.asks_for_processes() { &[] } else { &[PROCESSES] },
        }
    }

    /// True if the answer depends on what processes run, or in which network namespaces.
    fn asks_for_processes(&self) -> bool {
        let filter = self.filter();
        filter.is_on_processes()
            || filter.asks_for_executables()
            || self.what.group_by == Some(GroupBy::Exe)
            || self.columns().named().contains(&Column::Exe)
    }

    /// The rules to judge by.
    pub(crate) fn rules(&self) -> Rules {
        self.what.judge.rules(if self.has_peers() { StateSet::ALL } else { self.states() })
    }

    /// The rows to show.
    pub(crate) fn query(&self) -> Query {
        let Rules { idle, settle, .. } = self.rules();
        let shown = match (self.what.state.is_empty(), self.what.stranded) {
            (false, _) => Shown::States(self.states()),
            (true, true) => Shown::Stranded,
            (true, false) => Shown::Leaked,
        };
        let peer = self.has_peers();
        Query { filter: self.filter(), shown, sort: self.how.sort, idle, settle, peer }
    }

    /// The columns to show.
    pub(crate) fn columns(&self) -> Columns {
        words::columns(&self.how.columns)
    }

    /// The usage error in an option that says nothing to this form of output.
    pub(crate) fn contradiction(&self) -> Option<String> {
        if let Some(column) = words::late_plus(&self.how.columns) {
            let name = column.name();
            return Some(format!(
                "invalid value '+{name}' for '--columns <[+]COL>': the columns before it have no plus; \
                 give the first one a plus, to add all to the usual ones, or leave it out"
            ));
        }
        let options = [
            (self.how.rows.is_some(), "--rows"),
            (!self.how.columns.is_empty(), "--columns"),
            (self.what.summary, "--summary"),
            (self.what.group_by.is_some(), "--group-by"),
        ];
        let (form, useless) = match self.format.get() {
            Format::Text => return None,
            Format::Json => ("JSON, which is whole", &options[..3]),
            Format::Csv => ("CSV", &options[2..3]),
            Format::Prometheus => ("metrics", &options[..]),
        };
        let (_, option) = useless.iter().find(|(is_given, _)| *is_given)?;
        Some(format!("'{option}' does nothing to {form}: leave it out, or give --format text"))
    }

    /// True if the processes at the other ends are shown.
    fn has_peers(&self) -> bool {
        self.what.peer || self.columns().named().contains(&Column::Peer)
    }

    /// The states that were asked for.
    fn states(&self) -> StateSet {
        self.what.state.iter().copied().collect()
    }

    fn filter(&self) -> Filter {
        self.who.filter(&self.whose, &self.conn)
    }
}

impl WhoArgs {
    /// The sockets to show.
    fn filter(&self, whose: &WhoseArgs, conn: &ConnArgs) -> Filter {
        Filter {
            min_age: self.min_age,
            pid: self.pid.clone(),
            comm: self.comm.clone(),
            uid: [&self.uid[..], &self.user].concat(),
            whose: whose.get(),
            not: self.not.clone(),
            ..conn.filter()
        }
    }
}

impl WhoseArgs {
    fn get(&self) -> Whose {
        let Self { exe, cmd, unit, container, pod, .. } = self;
        Whose {
            exe: exe.clone(),
            cmd: cmd.clone(),
            unit: unit.clone(),
            container: container.clone(),
            pod: pod.clone(),
            ..Whose::default()
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
