//! The parts of the command line that subcommands share: options, how their values are parsed, and
//! what a usage error says. The options of one subcommand are in its own file, in `command`.

mod usage;
pub(crate) mod value;

use std::path::PathBuf;
use std::time::Duration;

use caps::Capability;
use clap::{ArgAction, Args, ValueEnum};

pub use self::usage::one_line;
use crate::host::identity::users;
use crate::live::monitor::Rules;
use crate::probe::Config;
use crate::report::filter::{Address, Filter, Pattern, PodName, Whose};
use crate::report::group::GroupBy;
use crate::report::{Query, Shown, SortKey};
use crate::sock::state::StateSet;

/// Lets /proc tell the executables and namespaces of other users' processes: see
/// `privilege::PROCESSES`.
const PROCESSES: Capability = Capability::CAP_SYS_PTRACE;

/// The options of everything that reports leaked sockets.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Also show and count what is stranded: connections that are not over, but stand still
    #[arg(long, conflicts_with = "state")]
    pub stranded: bool,
    /// List every socket in these states, leaked or not; `all` for all states
    ///
    /// Listeners are listed only where a process has them open.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<StateSet>,
    /// Only sockets that have provably been in their state for so long (where IDLE is shown: idle)
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub min_age: Option<Duration>,
    /// Count a connection as idle when nothing has moved on it for so long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = value::duration)]
    pub idle: Duration,
    /// Wait so long before the second look at sockets that may be about to be closed
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = value::duration)]
    pub settle: Duration,
    /// Leave out known leaks: KEY=VALUE,…, such as port=9000,verdict=eof-read; may be repeated
    ///
    /// Keys are pid, comm, uid, user, exe, cmd, unit, container, pod, local, remote, port, netns, state
    /// and verdict. All keys of a filter have to match; a key given twice matches either value.
    #[arg(long, value_name = "FILTER")]
    pub not: Vec<Filter>,
    /// Only sockets held by these processes
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = value::pid)]
    pub pid: Vec<u32>,
    /// Only sockets held by processes with one of these names: as `ps -o comm` prints it, or the base
    /// name of the first argument or of the executable
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = value::name)]
    pub comm: Vec<String>,
    /// Only sockets held by processes with these effective user IDs
    #[arg(long, value_name = "UID", value_delimiter = ',', value_parser = value::uid)]
    pub uid: Vec<u32>,
    /// Only sockets held by processes of these users, by name (as in /etc/passwd) or number
    #[arg(long, value_name = "USER", value_delimiter = ',', value_parser = users::uid)]
    pub user: Vec<u32>,
    /// Which processes.
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// Which connections.
    #[command(flatten)]
    pub conn: ConnArgs,
    /// Sort rows by this
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,
    /// Count sockets by what they have in common, instead of listing them
    #[arg(long, value_name = "WHAT", value_enum)]
    pub group_by: Option<GroupBy>,
    /// Name the process that holds the other end, if it is on this host
    #[arg(long)]
    pub peer: bool,
    /// The folder of pods' logs: the names of pods and containers come from there
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pub pod_logs: PathBuf,
    /// Leave out the line above the columns
    #[arg(long)]
    pub no_headers: bool,
    /// In which form.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Options of the kernel side.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Who holds them.
#[derive(Debug, Args)]
pub struct WhoseArgs {
    /// Only sockets held by processes that run one of these executables: a path, or its base name
    ///
    /// To read it of other users' processes takes CAP_SYS_PTRACE, which is kept for it.
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = value::text)]
    pub exe: Vec<String>,
    /// Only sockets held by processes whose command line has this in it; * stands for anything
    ///
    /// Arguments are joined by spaces: `--cmd 'java*shop.jar'`.
    #[arg(long, value_name = "PATTERN")]
    pub cmd: Vec<Pattern>,
    /// Only sockets held by processes in one of these systemd units; `.service` may be left out
    #[arg(long, value_name = "UNIT", value_delimiter = ',', value_parser = value::text)]
    pub unit: Vec<String>,
    /// Only sockets held in one of these containers: the first digits of an ID, or the name of a pod's
    /// container
    ///
    /// Names that docker and podman give are not known: only they know them.
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',', value_parser = value::text)]
    pub container: Vec<String>,
    /// Only sockets held in one of these Kubernetes pods
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',')]
    pub pod: Vec<PodName>,
}

/// Which connections.
#[derive(Debug, Args)]
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
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = value::network_namespace)]
    pub netns: Vec<u32>,
}

/// In which form.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Print for people, or for programs: one JSON object a line
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

/// Options of the kernel side.
#[derive(Debug, Args)]
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
        let asks = filter.is_on_processes() || filter.asks_for_executables();
        asks || self.group_by == Some(GroupBy::Exe)
    }

    /// The rules to judge by.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            watched: if self.peer { StateSet::ALL } else { self.states() },
            idle: nanoseconds(self.idle),
            settle: nanoseconds(self.settle),
        }
    }

    /// The rows to show.
    pub(crate) fn query(&self) -> Query {
        let Rules { idle, settle, .. } = self.rules();
        let shown = match (self.state.is_empty(), self.stranded) {
            (false, _) => Shown::States(self.states()),
            (true, true) => Shown::Stranded,
            (true, false) => Shown::Leaked,
        };
        Query { filter: self.filter(), shown, sort: self.sort, idle, settle, peer: self.peer }
    }

    /// The states that were asked for.
    fn states(&self) -> StateSet {
        self.state.iter().copied().collect()
    }

    fn filter(&self) -> Filter {
        Filter {
            min_age: self.min_age,
            pid: self.pid.clone(),
            comm: self.comm.clone(),
            uid: [&self.uid[..], &self.user].concat(),
            whose: self.whose.get(),
            not: self.not.clone(),
            ..self.conn.filter()
        }
    }
}

impl WhoseArgs {
    fn get(&self) -> Whose {
        let Self { exe, cmd, unit, container, pod } = self;
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

/// Durations on the command line are at most a hundred years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
