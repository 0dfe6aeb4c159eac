//! Completions, asked of the shells themselves, as far as the machine has them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;
use sockleak::report::column::Column;
use sockleak::sock::leak::Verdict;
use sockleak::sock::state::State;

use crate::common::{not_possible, sockleak};

/// Sources the script, and prints the candidates for the last word.
const BASH: &str = r#"source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_sockleak sockleak "${@: -1}" "${@: -2:1}"
printf '%s\n' "${COMPREPLY[@]}""#;
const FISH: &str = r#"source $argv[1]; complete -C (string join " " -- $argv[2..])"#;
/// Elvish has `edit:` only where somebody types.
const ELVISH: &str = r#"
var edit: = (ns [
  &completion:=(ns [&arg-completer=[&]])
  &complex-candidate~={|text &display='' &code-suffix=''| put $text }
])
eval &ns=(ns [&edit:=$edit: &typed=$args[1..]]) (slurp < $args[0])'
for each [($edit:completion:arg-completer[sockleak] $@typed)] { echo $each }'
"#;
const POWERSHELL: &str = r#". $args[0]
$line = $args[1..$args.Length] -join ' '
$found = [System.Management.Automation.CommandCompletion]::CompleteInput($line, $line.Length, $null)
$found.CompletionMatches.ForEach({ $_.CompletionText })"#;

/// A script of completions, and the shell that it is for.
struct Script {
    shell: &'static str,
    file: PathBuf,
}

impl Script {
    fn new(shell: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let extension = if shell == "powershell" { "ps1" } else { shell };
        let name = format!("sockleak-script-{}-{number}.{extension}", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, sockleak(&["completions", shell]).stdout).unwrap();
        Self { shell, file }
    }

    /// The candidates for the last of some words; `None` where the shell is not there.
    fn candidates(&self, words: &[&str]) -> Option<Vec<String>> {
        let (program, before, code) = match self.shell {
            "bash" => ("bash", &["--norc", "-c"][..], BASH),
            "fish" => ("fish", &["--no-config", "-c"][..], FISH),
            "elvish" => ("elvish", &["-norc", "-c"][..], ELVISH),
            _ => ("pwsh", &["-NoProfile", "-CommandWithArgs"][..], POWERSHELL),
        };
        let mut command = Command::new(program);
        command.args(before).arg(code);
        if self.shell == "bash" {
            command.arg("bash");
        }
        let ran = command.arg(&self.file).arg("sockleak").args(words).output().ok()?;
        assert!(ran.status.success(), "{}: {ran:?}", self.shell);
        let text = String::from_utf8(ran.stdout).unwrap();
        // fish tells what a word means, after a tab.
        let word = |line: &str| line.split('\t').next().unwrap_or_default().trim().to_owned();
        Some(text.lines().map(word).collect())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<_> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn shells_complete_states_verdicts_and_columns() {
    let columns: Vec<_> = Column::value_variants().iter().map(|column| column.name()).collect();
    let states = sorted(State::ALL.map(State::flag).into_iter().chain(["all"]));
    let topics = sorted(Verdict::ALL.map(Verdict::name).into_iter().chain(["unknown", "kernel"]));
    let columns = sorted(columns.iter().map(String::as_str));
    let shells = sorted(["bash", "elvish", "fish", "powershell", "zsh"]);
    for shell in ["bash", "fish", "elvish", "powershell"] {
        let script = Script::new(shell);
        for (words, wanted) in [
            (&["list", "--state", ""][..], &states),
            (&["watch", "--json", "-s", ""], &states),
            (&["--explain", ""], &topics),
            (&["events", "--explain", ""], &topics),
            (&["--state", ""], &states),
            (&["list", "-n", "3", "-o", ""], &columns),
            (&["list", "--columns", ""], &columns),
            (&["completions", ""], &shells),
        ] {
            let Some(got) = script.candidates(words) else {
                not_possible("completions::shells_complete_states_verdicts_and_columns", shell);
                break;
            };
            let got = sorted(got.iter().map(String::as_str));
            if words.starts_with(&["completions"]) {
                // Options may come, too.
                assert!(wanted.iter().all(|one| got.contains(one)), "{shell}: {got:?}");
            } else {
                assert_eq!(&got, wanted, "{shell}: {words:?}");
            }
        }
    }
}

#[test]
fn names_of_options_are_completed_beside_words() {
    for shell in ["bash", "fish", "elvish", "powershell"] {
        let Some(got) = Script::new(shell).candidates(&["list", "-s", "close", "--st"]) else {
            not_possible("completions::names_of_options_are_completed_beside_words", shell);
            continue;
        };
        for option in ["--state", "--stranded"] {
            assert!(got.iter().any(|one| one == option), "{shell}: {option} in {got:?}");
        }
    }
}

/// In other shells nothing comes after a comma, or an equals sign may be a word of its own.
#[test]
fn elvish_completes_lists_values_and_added_columns() {
    let script = Script::new("elvish");
    for (word, candidate) in [
        (&["list", "-s", "close-wait,fin"][..], "close-wait,fin-wait-2"),
        (&["list", "--state=clo"], "--state=close-wait"),
        (&["list", "--state=closing,l"], "--state=closing,last-ack"),
        (&["list", "-o", "+si"], "+since"),
        (&["list", "--columns=+pid,s"], "--columns=+pid,since"),
        (&["list", "-o", "pid,"], "pid,fd"),
    ] {
        let Some(got) = script.candidates(word) else {
            let test = "completions::elvish_completes_lists_values_and_added_columns";
            return not_possible(test, "no elvish");
        };
        assert!(got.iter().any(|one| one == candidate), "{candidate} in {got:?}");
    }
}
