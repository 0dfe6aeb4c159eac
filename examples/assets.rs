//! Writes the man page and the shell completions, made from the definition of the command line:
//! `cargo run --example assets -- DIR`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use sockleak::command::Cli;
use sockleak::host::privilege::{FEATURES, Feature};
use sockleak::sock::leak::{Class, Verdict};

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from).context("usage: assets DIR")?;
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;

    let command = Cli::command();
    fs::write(man.join("sockleak.1"), page(command.clone())?)?;
    for subcommand in command.get_subcommands() {
        let name: &'static str = format!("sockleak-{}", subcommand.get_name()).leak();
        let page = section(subcommand.clone().name(name).display_name(name))?;
        fs::write(man.join(format!("{name}.1")), page)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "sockleak", &completions)?;
    }
    Ok(())
}

/// The page of a subcommand.
fn section(command: Command) -> Result<Vec<u8>> {
    let is_doctor = command.get_name().ends_with("doctor");
    let exit_status = if is_doctor { DOCTOR_EXIT_STATUS } else { EXIT_STATUS };
    let mut page = Vec::new();
    // The exit codes have a section of their own.
    Man::new(command.after_help(None::<&str>)).render(&mut page)?;
    append(&mut page, "EXIT STATUS", exit_status);
    append(&mut page, "SEE ALSO", "sockleak(1): verdicts, examples, privileges, overhead, bugs");
    Ok(page)
}

/// The main page, with what is more than options.
fn page(command: Command) -> Result<Vec<u8>> {
    let subcommands =
        command.get_subcommands().map(|one| format!("sockleak-{}(1)", one.get_name()));
    let see_also = format!("{}, {SEE_ALSO}", subcommands.collect::<Vec<_>>().join(", "));
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    man.render_options_section(&mut page)?;
    append(&mut page, "VERDICTS", &verdicts());
    append(&mut page, "EXIT STATUS", EXIT_STATUS);
    append(&mut page, "EXAMPLES", EXAMPLES);
    append(&mut page, "PRIVILEGES", &privileges());
    append(&mut page, "OVERHEAD", OVERHEAD);
    append(&mut page, "BUGS", BUGS);
    append(&mut page, "SEE ALSO", &see_also);
    Ok(page)
}

fn append(page: &mut Vec<u8>, title: &str, text: &str) {
    page.extend(format!(".SH \"{title}\"\n{}\n", roff(text)).into_bytes());
}

fn verdicts() -> String {
    let paragraph =
        |verdict: &Verdict| format!("{verdict} ({}): {}\n", class(*verdict), verdict.explanation());
    Verdict::ALL.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn class(verdict: Verdict) -> &'static str {
    match verdict.class() {
        Class::Leaked => "leaked",
        Class::Stranded => "stranded",
        Class::InUse => "in use",
    }
}

fn privileges() -> String {
    let paragraph = |feature: &Feature| {
        let needs =
            feature.needs.iter().map(|need| format!("{} {}", need.capability, need.purpose));
        let needs: Vec<_> = needs.collect();
        format!("For {}: {}. Without, {}.", feature.what, needs.join("; "), feature.without)
    };
    let features: Vec<_> = FEATURES.iter().map(paragraph).collect();
    format!("{PRIVILEGES}\n\n{}", features.join("\n\n"))
}

/// Paragraphs for roff: escapes what it would take for a request or an escape. Indented lines stay as
/// they are.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| match line {
        "" => ".PP".to_owned(),
        line if line.starts_with(['.', '\'']) => format!("\\&{line}"),
        line if line.starts_with(' ') => format!(".nf\n{line}\n.fi"),
        line => line.to_owned(),
    };
    escaped.lines().map(line).collect::<Vec<_>>().join("\n")
}

const EXIT_STATUS: &str = "\
0: nothing leaked (after filters), and the answer is whole.

1: at least one leaked socket (after filters). With --stranded, stranded ones count, too; with --state,
all that is listed.

2: usage error; the message names the flag and the remedy.

3: could not run: privilege, kernel, BTF or seccomp; the message names what is missing and the remedy.

4: the answer may be incomplete or stale; the reason is in JSON's incomplete, or on stderr.

list whose reader has gone ends with the code of the whole list, watch and events with 0. Whether
stderr can be written changes nothing. Ctrl-C ends watch with the code of what it last saw: at once, or
after a second and a half where a write is stuck. events never ends with 1.";

const DOCTOR_EXIT_STATUS: &str = "\
0: sockleak can work here.

2: usage error; the message names the flag and the remedy.

3: sockleak cannot work here.";

const EXAMPLES: &str = "\
Watch what is leaked:

  sockleak

Fail a test run in which my-server leaks, where its handlers may take five seconds to close:

  sockleak list --comm my-server --settle 5s

Show what is certain on a host in production, without a leak that is known:

  sockleak list --min-age 1m --not port=9000,verdict=eof-unread

Find peers that do not close, and their processes on this host:

  sockleak list --stranded --peer

Count leaks by the address of the peer:

  sockleak list --group-by remote

Explain a verdict:

  sockleak --explain half-shut";

const PRIVILEGES: &str = "\
Root is enough; so is less. Once the programs are attached, what is no longer needed is given up for
good: no_new_privs is set, the bounding set is empty (where CAP_SETPCAP allows that), and no debugger of
the same user's can attach.";

const OVERHEAD: &str = "\
A transition into or out of a watched state costs some hundred nanoseconds. A scan visits every open
file of the host: some milliseconds for ten thousand. watch scans at each interval while something is
leaked or stranded, every 5 seconds while a connection may become so without an event, and otherwise
once a minute. Scans use at most --scan-budget of one core on average; a scan that is needed waits for
its budget up to 30 seconds, and the answer says that it is stale.";

const BUGS: &str = "\
A socket that was reset while no descriptor shows it (in flight over a unix socket, or only mapped into
memory) is in no table of the kernel's, and cannot be found.

Before Linux 6.13, a socket that is only in the table of an io_uring has no owner.

Before Linux 5.17, an accept queue is walked for its first 1,024 connections; the answer says so.

TCP does not know what a program has read of an MPTCP connection: such a socket has no verdict.

When one of two holders closes a socket, no event says so: holders are as of the last scan.

Only watch can tell that a connection is relayed.";

const SEE_ALSO: &str = "ss(8), lsof(8), tcp(7), capabilities(7)";
