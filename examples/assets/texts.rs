//! Sections of man pages that are the same for several commands.

pub(crate) const EXIT_STATUS: &str = "\
0: nothing leaked (after filters), and the answer is whole.

1: at least one leaked socket (after filters). With --stranded, stranded ones count, too; with --state,
all that is listed.

2: usage error; the message names the flag and the remedy.

3: could not run: privilege, kernel, BTF or seccomp; the message names what is missing and the remedy.

4: the answer may be incomplete or stale; the reason is in JSON's incomplete, or on stderr.

list whose reader has gone ends with the code of the whole list, watch and events with 0. Whether
stderr can be written changes nothing. Ctrl-C ends watch with the code of what it last saw: at once, or
after a second and a half where a write is stuck. events never ends with 1.";

pub(crate) const DOCTOR_EXIT_STATUS: &str = "\
0: sockleak can work here.

2: usage error; the message names the flag and the remedy.

3: sockleak cannot work here.";

pub(crate) const EXPORT_EXIT_STATUS: &str = "\
0: a signal has ended it.

2: usage error; the message names the flag and the remedy.

3: could not run, or no longer; the message names what is missing and the remedy.";

pub(crate) const CHECK_EXIT_STATUS: &str = "\
0: OK.

1: WARNING: more sockets than --warning are leaked, or a process will be out of descriptors sooner than
--warn-exhaustion.

2: CRITICAL: more sockets than --critical are leaked.

3: UNKNOWN: the answer may be incomplete, the command line makes no sense, or it could not run.";

pub(crate) const COMPLETIONS_EXIT_STATUS: &str = "\
0: the script is on stdout.

2: usage error; the message names the shells that there are.";

pub(crate) const PRIVILEGES: &str = "\
Root is enough; so is less. Once the programs are attached, what is no longer needed is given up for
good: no_new_privs is set, the bounding set is empty (where CAP_SETPCAP allows that), and no debugger of
the same user's can attach.";

pub(crate) const OVERHEAD: &str = "\
A transition into or out of a watched state costs some hundred nanoseconds. A scan visits every open
file of the host: some milliseconds for ten thousand. watch scans at each interval while something is
leaked or stranded, every 5 seconds while a connection may become so without an event, and otherwise
once a minute. Scans use at most --scan-budget of one core on average; a scan that is needed waits for
its budget up to 30 seconds, and the answer says that it is stale.";

pub(crate) const BUGS: &str = "\
A socket that was reset while no descriptor shows it (in flight over a unix socket, or only mapped into
memory) is in no table of the kernel's, and cannot be found.

Before Linux 6.13, a socket that is only in the table of an io_uring has no owner.

Before Linux 5.17, an accept queue is walked for its first 1,024 connections; the answer says so.

TCP does not know what a program has read of an MPTCP connection: such a socket has no verdict.

Names of containers that docker or podman gave are not shown: only their daemons know them. The name of a
pod comes from its folder of logs; without one its UID is shown.

When one of two holders closes a socket, no event says so: holders are as of the last scan.

Only watch can tell that a connection is relayed.";

pub(crate) const SEE_ALSO: &str = "ss(8), lsof(8), tcp(7), capabilities(7)";
