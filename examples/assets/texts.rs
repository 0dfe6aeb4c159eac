//! Sections of man pages that are no options: exit codes, costs, and what cannot be done.

/// The exit codes of a subcommand.
pub(crate) fn exit_status(name: &str) -> &'static str {
    match name {
        "events" => EVENTS_EXIT_STATUS,
        "doctor" => DOCTOR_EXIT_STATUS,
        "completions" => COMPLETIONS_EXIT_STATUS,
        "export" => EXPORT_EXIT_STATUS,
        "check" => CHECK_EXIT_STATUS,
        "run" => RUN_EXIT_STATUS,
        _ => EXIT_STATUS,
    }
}

pub(crate) const EXIT_STATUS: &str = "\
0: nothing leaked (after filters), and the answer is whole.

1: at least one leaked socket (after filters). With --stranded, stranded ones count, too; with --state,
all that is listed.

2: usage error; the message names the flag and the remedy.

3: could not run: privilege, kernel, BTF or seccomp; the message names what is missing and the remedy.

4: the answer may be incomplete or stale; the reason is in JSON's incomplete, or on stderr.

list whose reader has gone ends with the code of the whole list, watch with 0. Whether stderr can be
written changes nothing. Ctrl-C ends watch with the code of what it last saw: at once, or after a second
and a half where a write is stuck.";

const EVENTS_EXIT_STATUS: &str = "\
0: a signal has ended it, or its reader has gone.

2: usage error; the message names the flag and the remedy.

3: could not run: privilege, kernel, BTF or seccomp; the message names what is missing and the remedy.

4: events were lost; a line on stderr says how many, and the remedy.";

const DOCTOR_EXIT_STATUS: &str = "\
0: sockleak can work here.

2: usage error; the message names the flag and the remedy.

3: sockleak cannot work here.";

const EXPORT_EXIT_STATUS: &str = "\
0: a signal has ended it.

2: usage error; the message names the flag and the remedy.

3: could not run, or no longer; the message names what is missing and the remedy.";

const CHECK_EXIT_STATUS: &str = "\
0: OK.

1: WARNING: more sockets than --warning are leaked, or a process will be out of descriptors sooner than
--warn-exhaustion.

2: CRITICAL: more sockets than --critical are leaked.

3: UNKNOWN: the answer may be incomplete, the command line makes no sense, or it could not run.";

const COMPLETIONS_EXIT_STATUS: &str = "\
0: the script is on stdout.

2: usage error; the message names the shells that there are.";

const RUN_EXIT_STATUS: &str = "\
The command's own, if that is not 0: 128 and the number of the signal that ended it; 127 where it was not
found, 126 where it cannot be executed. If the command's is 0:

0: nothing leaked (after filters), or no more than --max-leaks, and the answer is whole.

1, or --leak-exit-code: sockets leaked.

4: the answer may be incomplete; the reason is in the report.

125, in any case: sockleak failed before the command started; a usage error, too.";

pub(crate) const PRIVILEGES: &str = "\
Root is enough; so is less. Once the programs are attached, what is no longer needed is given up for
good: no_new_privs is set, the bounding set is empty (where CAP_SETPCAP allows that), and no debugger of
the same user's can attach.";

/// The costs of a subcommand.
pub(crate) fn overhead(name: &str) -> &'static str {
    match name {
        "list" | "check" => LOOK_OVERHEAD,
        "events" => EVENTS_OVERHEAD,
        "run" => RUN_OVERHEAD,
        "doctor" => DOCTOR_OVERHEAD,
        "completions" => COMPLETIONS_OVERHEAD,
        _ => OVERHEAD,
    }
}

pub(crate) const OVERHEAD: &str = "\
A transition into or out of a watched state costs some hundred nanoseconds. A scan visits every open
file of the host: some milliseconds for ten thousand. A scan is made at each interval while something is
leaked or stranded, every 5 seconds while a connection may become so without an event, and otherwise
once a minute. Scans use at most --scan-budget of one core on average; a scan that is needed waits for
its budget up to 30 seconds, and the answer says that it is stale.";

const LOOK_OVERHEAD: &str = "\
Programs are loaded, which takes some 40 milliseconds, and every open file of the host is visited: some
milliseconds for ten thousand. Where sockets may be about to be closed, they are visited again after
--settle. Nothing stays loaded.";

const EVENTS_OVERHEAD: &str = "\
Every transition that is asked for is handed over and printed, which costs the host half a microsecond
and more. Where connections are opened and closed as fast as two CPUs can, all states together took a
quarter of the throughput; -s with few states takes less. Addresses and ports are compared afterwards:
they save nothing.";

const RUN_OVERHEAD: &str = "\
Loading takes 40 to 80 milliseconds, once. A socket that is closed in time costs no record; an exec costs
one, and a socket that is not closed in time one or two.";

const DOCTOR_OVERHEAD: &str = "\
Every program is loaded once and every open file of the host visited; for the self-test a socket for each
verdict is planted in a network namespace of its own, and gone at the end. That takes a second or two.";

const COMPLETIONS_OVERHEAD: &str = "\
None: no program is loaded, and no privilege is needed.";

/// Things that a subcommand cannot do.
pub(crate) fn bugs(name: &str) -> &'static str {
    match name {
        "events" => EVENTS_BUGS,
        "run" => RUN_BUGS,
        "doctor" => DOCTOR_BUGS,
        "completions" => COMPLETIONS_BUGS,
        _ => BUGS,
    }
}

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

const EVENTS_BUGS: &str = "\
Most transitions are made by packets and timers, whose task is nobody's: they show no PID.

Events are lost where the ring has no room for them, and where the kernel does not run our programs
because it interrupts them; a line on stderr counts them.

A state that a socket was in before the start has no duration.";

const RUN_BUGS: &str = "\
Before Linux 5.17, descriptors from 128 on are not named where a process exits with them.

Where the kernel lacks the tracepoint tcp_destroy_sock, sockets that were reset are not seen, and the
answer is incomplete.

MPTCP connections, and sockets that only the table of an io_uring refers to, are not seen.

Processes that outlive the command are counted, and no longer followed.";

const DOCTOR_BUGS: &str = "\
The self-test plants sockets on loopback, and holds them itself. If it finds them, holders in other PID
namespaces may still be hidden.

Without CAP_SYS_ADMIN and CAP_NET_ADMIN the self-test uses the loopback of the present network namespace,
where others see its sockets for a moment.";

const COMPLETIONS_BUGS: &str = "\
Processes, users, units and containers are not completed.

After a comma only Elvish completes the next word of a list.";

pub(crate) const SEE_ALSO: &str = "ss(8), lsof(8), tcp(7), capabilities(7)";
