//! Writes the man page and the shell completions, made from the definition of the command line:
//! `cargo run --example assets -- DIR`.

mod texts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use sockleak::command::Cli;
use sockleak::command::completions::script;
use sockleak::command::manual::{USAGES, usage};
use sockleak::host::privilege::{FEATURES, Feature};
use sockleak::sock::leak::{Class, Verdict};

use self::texts::{BUGS, EXIT_STATUS, OVERHEAD, PRIVILEGES, SEE_ALSO, bugs, exit_status, overhead};

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from).context("usage: assets DIR")?;
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;

    let command = Cli::command();
    fs::write(man.join("sockleak.1"), page(command.clone())?)?;
    for subcommand in command.get_subcommands() {
        let name: &'static str = format!("sockleak-{}", subcommand.get_name()).leak();
        let command = subcommand.clone().name(name).display_name(name);
        fs::write(man.join(format!("{name}.1")), section(subcommand.get_name(), command)?)?;
    }
    for &shell in Shell::value_variants() {
        fs::write(completions.join(shell.file_name("sockleak")), script(shell)?)?;
    }
    Ok(())
}

/// The page of a subcommand.
fn section(name: &str, command: Command) -> Result<Vec<u8>> {
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis(&mut page, &[name])?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    append(&mut page, "EXAMPLES", &examples(&[name])?);
    append(&mut page, "EXIT STATUS", exit_status(name));
    append(&mut page, "OVERHEAD", overhead(name));
    append(&mut page, "BUGS", bugs(name));
    append(&mut page, "SEE ALSO", &format!("sockleak(1): verdicts, privileges; {SEE_ALSO}"));
    Ok(page)
}

/// The main page, with what is more than options.
fn page(command: Command) -> Result<Vec<u8>> {
    let names: Vec<_> = USAGES.iter().map(|usage| usage.name).collect();
    let see_also: Vec<_> = names.iter().map(|name| format!("sockleak-{name}(1)")).collect();
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis(&mut page, &names)?;
    man.render_description_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    man.render_options_section(&mut page)?;
    append(&mut page, "VERDICTS", &verdicts());
    append(&mut page, "EXAMPLES", &examples(&names)?);
    append(&mut page, "EXIT STATUS", EXIT_STATUS);
    append(&mut page, "PRIVILEGES", &privileges());
    append(&mut page, "OVERHEAD", OVERHEAD);
    append(&mut page, "BUGS", BUGS);
    append(&mut page, "SEE ALSO", &format!("{}, {SEE_ALSO}", see_also.join(", ")));
    Ok(page)
}

/// Writes how people write these commands: what is typed in bold, what stands for something in italics.
fn synopsis(page: &mut Vec<u8>, names: &[&str]) -> Result<()> {
    page.extend_from_slice(b".SH SYNOPSIS\n");
    for name in names {
        let usage = usage(name).with_context(|| format!("{name} has no usage"))?;
        for line in usage.synopsis {
            // Lines that continue a command are indented.
            let begin = if line.starts_with("sockleak") { ".HP\n" } else { "" };
            page.extend(format!("{begin}{}\n", typed(line)).into_bytes());
        }
    }
    Ok(())
}

fn typed(line: &str) -> String {
    let is_edge = |c: char| matches!(c, ' ' | '[' | ']' | '|' | ',' | '…' | ':');
    let word = |part: &str| {
        let text = part.trim_end_matches(is_edge);
        let edge = part[text.len()..].replace('…', "\\[u2026]");
        let is_value = text.chars().all(|c| c.is_ascii_uppercase());
        match text.replace('-', "\\-") {
            text if text.is_empty() => edge,
            text if is_value => format!("\\fI{text}\\fR{edge}"),
            text => format!("\\fB{text}\\fR{edge}"),
        }
    };
    line.split_inclusive(is_edge).map(word).collect()
}

fn examples(names: &[&str]) -> Result<String> {
    let mut text = String::new();
    for name in names {
        let usage = usage(name).with_context(|| format!("{name} has no usage"))?;
        for (command, purpose) in usage.examples {
            text += &format!("{purpose}:\n\n  {command}\n\n");
        }
    }
    Ok(text.trim_end().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The titles of a page's sections.
    fn titles(page: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(page).into_owned();
        let titles = text.lines().filter_map(|line| line.strip_prefix(".SH "));
        titles.map(|title| title.trim_matches('"').to_owned()).collect()
    }

    #[test]
    fn every_page_has_its_sections_in_order() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let page = section(name, subcommand.clone()).unwrap();
            let titles = titles(&page);
            let wanted = [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "EXAMPLES",
                "EXIT STATUS",
                "OVERHEAD",
                "BUGS",
                "SEE ALSO",
            ];
            let places = wanted.iter().map(|one| titles.iter().position(|title| title == one));
            let places: Vec<_> = places.collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{name}: {titles:?}");
        }
        let titles = titles(&page(command).unwrap());
        for title in ["VERDICTS", "EXAMPLES", "PRIVILEGES", "OVERHEAD", "BUGS", "SEE ALSO"] {
            assert!(titles.iter().any(|one| one == title), "{titles:?}");
        }
    }

    #[test]
    fn a_page_names_options_of_its_own_command_alone() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let has = |option| subcommand.get_arguments().any(|own| own.get_long() == Some(option));
            for text in [exit_status(name), overhead(name), bugs(name)] {
                let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                for option in words.filter_map(|word| word.strip_prefix("--")) {
                    assert!(has(option), "--{option} in the page of {name}");
                }
            }
        }
    }

    #[test]
    fn a_synopsis_shows_what_is_typed_and_what_stands_for_something() {
        assert_eq!(
            typed("sockleak list [-n ROWS | -a] [-p PID,…]"),
            "\\fBsockleak\\fR \\fBlist\\fR [\\fB\\-n\\fR \\fIROWS\\fR | \\fB\\-a\\fR] [\\fB\\-p\\fR \
             \\fIPID\\fR,\\[u2026]]"
        );
    }

    #[test]
    fn text_is_no_request_and_no_escape() {
        assert_eq!(roff("a-b\\c\n\n.SH x\n  code"), "a\\-b\\ec\n.PP\n\\&.SH x\n.nf\n  code\n.fi");
    }
}
