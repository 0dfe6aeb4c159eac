//! Texts of the manual that are more than options: `--help` and the man pages show them.

use crate::host::privilege;

pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 nothing leaked, 1 leaked, 2 usage, 3 could not run, 4 the answer may be incomplete.";

/// Exit codes of a monitoring plugin.
pub const CHECK_CODES: &str = "\
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: the answer may be incomplete, or there is none.";

pub(super) const RUN_EXIT_CODES: &str = "\
Exit codes: the command's own if nothing leaked, or if it is not 0 (128+N for signal N, 127 not found, \
126 not executable). If it is 0: --leak-exit-code where sockets leaked, 4 where the answer may be \
incomplete. 125: sockleak failed before the command started.";

/// The way in which people write a command.
pub struct Usage {
    /// The subcommand.
    pub name: &'static str,
    /// Lines of a synopsis.
    pub synopsis: &'static [&'static str],
    /// Commands, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
}

const SELECTION: &str = "[-p PID,…] [-c NAME,…] [--port PORT,…] [--min-age DURATION] [OPTION…]";

/// Every subcommand.
pub const USAGES: [Usage; 8] = [
    Usage {
        name: "watch",
        synopsis: &[
            "sockleak [watch] [--interval DURATION] [--count N] [-n ROWS | -a] [-o COL,…]",
            SELECTION,
        ],
        examples: &[
            ("sockleak", "Watch what is leaked"),
            ("sockleak -c java --interval 5s", "Watch all java processes, every five seconds"),
            (
                "sockleak watch --json --count 60 >leaks.jsonl",
                "Keep a minute of reports, an object a line",
            ),
        ],
    },
    Usage {
        name: "list",
        synopsis: &[
            "sockleak list [-n ROWS | -a | --summary] [-o COL,…] [--json | --format csv] [-O FILE]",
            SELECTION,
            "sockleak list [--stranded | -s STATE,…] [--group-by WHAT] [--peer] [OPTION…]",
        ],
        examples: &[
            (
                "sockleak list -c my-server --settle 5s",
                "Fail a test run in which my-server leaks, where its handlers may take five seconds \
                 to close",
            ),
            (
                "sockleak list --min-age 1m --not port=9000,verdict=eof-unread",
                "Show what is certain on a host in production, without a leak that is known",
            ),
            (
                "sockleak list --stranded --peer",
                "Find peers that do not close, and their processes on this host",
            ),
            ("sockleak list --group-by remote", "Count leaks by the address of the peer"),
            ("sockleak list -n 20 -o +since,received", "Show the twenty oldest, with more columns"),
            ("sockleak list --format csv -O leaks.csv", "Keep all rows for a spreadsheet"),
        ],
    },
    Usage {
        name: "export",
        synopsis: &[
            "sockleak export [--listen ADDRESS] [--interval DURATION] [--top GROUPS]",
            SELECTION,
        ],
        examples: &[
            ("sockleak export", "Serve http://127.0.0.1:9736/metrics"),
            (
                "sockleak export --listen 0.0.0.0:9736 --not verdict=data-unread",
                "Serve other hosts, without what idle pools leave unread",
            ),
            (
                "sockleak list --format prometheus --min-age 1m -O \
                 /var/lib/prometheus/node-exporter/sockleak.prom",
                "Do without a daemon: write a file for node_exporter, from a timer",
            ),
        ],
    },
    Usage {
        name: "check",
        synopsis: &[
            "sockleak check [-w SOCKETS] [-c SOCKETS] [--warn-exhaustion DURATION]",
            "[-p PID,…] [--comm NAME,…] [--port PORT,…] [--min-age DURATION] [OPTION…]",
        ],
        examples: &[
            ("sockleak check -w 50 -c 500", "Warn of more than 50 leaks, of more than 500 loudly"),
            (
                "sockleak check -w 50 -c 500 --warn-exhaustion 4h",
                "Warn also of a process that will be out of descriptors within four hours",
            ),
        ],
    },
    Usage {
        name: "events",
        synopsis: &[
            "sockleak events [-s STATE,…] [--port PORT,…] [--remote ADDR[:PORT],…] [--json] [OPTION…]",
        ],
        examples: &[
            ("sockleak events --port 8080", "Follow the connections of a service"),
            ("sockleak events -s close-wait", "See who leaves CLOSE_WAIT, and after how long"),
        ],
    },
    Usage {
        name: "run",
        synopsis: &[
            "sockleak run [--max-leaks N] [--baseline FILE [--write-baseline]] [--not FILTER] [OPTION…] -- CMD [ARG…]",
            "sockleak run [--json] [-O FILE] [--junit FILE] [OPTION…] -- CMD [ARG…]",
        ],
        examples: &[
            ("sockleak run -- python3 -m pytest", "Fail a test suite that leaks sockets"),
            (
                "sockleak run -- env \"PATH=$PATH\" go test -count=1 ./...",
                "The same where sudo has a PATH of its own",
            ),
            (
                "sockleak run --baseline known.json --write-baseline -- make test",
                "Write down what leaks today; without --write-baseline, fail for others only",
            ),
        ],
    },
    Usage {
        name: "doctor",
        synopsis: &["sockleak doctor [--json] [--btf FILE]"],
        examples: &[("sockleak doctor", "Ask what is missing on this host, and for the remedies")],
    },
    Usage {
        name: "completions",
        synopsis: &["sockleak completions bash|zsh|fish|elvish|powershell"],
        examples: &[
            (
                "sockleak completions bash >/etc/bash_completion.d/sockleak",
                "Complete options, states, verdicts and columns in bash",
            ),
            (
                "sockleak completions zsh >/usr/local/share/zsh/site-functions/_sockleak",
                "The same in zsh",
            ),
        ],
    },
];

/// The usage of a subcommand.
pub fn usage(name: &str) -> Option<&'static Usage> {
    USAGES.iter().find(|usage| usage.name == name)
}

/// Text for the end of a subcommand's long help.
pub(super) fn help(name: &str) -> String {
    let mut text = String::from("Examples:\n");
    for (command, purpose) in usage(name).map_or(&[][..], |usage| usage.examples) {
        text += &format!("  {purpose}:\n      {command}\n");
    }
    match name {
        "doctor" => text + "\n" + &privilege::manual(),
        "completions" => text,
        "export" => {
            text + "\nExit codes: 0 after a signal, 2 usage, 3 could not run, or no longer."
        }
        "check" => text + "\n" + CHECK_CODES,
        "run" => text + "\n" + RUN_EXIT_CODES,
        _ => text + "\n" + EXIT_CODES,
    }
}
