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
use sockleak::sock::leak::Verdict;

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

fn section(command: Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

/// The main page, with what is more than options.
fn page(command: Command) -> Result<Vec<u8>> {
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for (title, text) in [
        ("VERDICTS", verdicts()),
        ("EXIT STATUS", EXIT_STATUS.to_owned()),
        ("PRIVILEGES", privileges()),
        ("OVERHEAD", OVERHEAD.to_owned()),
        ("SEE ALSO", "ss(8), lsof(8), tcp(7), capabilities(7)".to_owned()),
    ] {
        page.extend(format!(".SH {title}\n{}\n", roff(&text)).into_bytes());
    }
    Ok(page)
}

fn verdicts() -> String {
    let paragraph = |verdict: &Verdict| format!("{verdict}: {}\n", verdict.explanation());
    Verdict::ALL.iter().map(paragraph).collect::<Vec<_>>().join("\n")
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

/// Paragraphs for roff: what it would take for a request or an escape is made plain.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| match line {
        "" => ".PP".to_owned(),
        line if line.starts_with(['.', '\'']) => format!("\\&{line}"),
        line => line.to_owned(),
    };
    escaped.lines().map(line).collect::<Vec<_>>().join("\n")
}

const EXIT_STATUS: &str = "\
0: nothing is leaked (after filters).

1: at least one socket is.

2: the command line makes no sense.

3: it could not run: privilege, kernel or BTF is missing; the message says what, and the remedy.

4: the answer may be incomplete.

list whose reader has gone ends with the code of the whole list, watch and events with success.
Whether stderr can be written changes nothing. Ctrl-C ends watch with the code of what it last saw:
at once, or after a second and a half where a write is stuck.";

const PRIVILEGES: &str = "\
Root is enough; so is less. What is not needed any more is given up once the programs are attached,
for good: no_new_privs is set, the bounding set is empty (where CAP_SETPCAP allows that), and no
debugger of the same user's can attach.";

const OVERHEAD: &str = "\
Each transition into or out of a watched state costs some hundred nanoseconds. A scan visits every
open file of the host: some milliseconds for ten thousand. watch scans at each interval while
something is leaked, but never spends more than --scan-budget of one core on scans, on average; on a
host with a hundred thousand leaked sockets it scans every few seconds. While nothing is leaked it
scans once a minute.";
