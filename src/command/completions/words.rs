//! Words that options take, where the scripts that clap_complete makes do not know them: in Elvish and
//! PowerShell nowhere, in fish not where a command has no subcommand, and not after it.

use clap::builder::PossibleValue;
use clap::{Arg, Command};
use clap_complete::Shell;

/// The line of each script before which words have to be known.
const ELVISH: &str = "    $completions[$command]\n";
const POWERSHELL: &str = "    $completions = @(switch ($command) {\n";
/// The line of fish's script that ends where the last option has no value yet: that is being typed.
const FISH: &str = "    or return\n";

/// Words, and the places on a command line where one of them may stand.
#[derive(Debug)]
struct Choice {
    /// `COMMAND OPTION`, with the subcommands of a command joined as in the scripts.
    places: Vec<String>,
    /// Each word, and its meaning.
    words: Vec<(String, String)>,
    /// True if a plus may be in front.
    takes_plus: bool,
}

/// Adds words to the script of a shell that needs it; `None` if the script is not as it is known.
pub(super) fn added(shell: Shell, command: &Command, script: &str) -> Option<String> {
    let choices = choices(command);
    let (line, instead, end) = match shell {
        Shell::Elvish => (ELVISH, elvish(&choices), String::new()),
        Shell::PowerShell => (POWERSHELL, powershell(&choices) + POWERSHELL, String::new()),
        Shell::Fish => (FISH, FISH.replace("return", "return 0"), fish(&choices)),
        _ => return Some(script.to_owned()),
    };
    script.contains(line).then(|| script.replacen(line, &instead, 1) + &end)
}

/// The words of all options of a command, and of its subcommands.
fn choices(command: &Command) -> Vec<Choice> {
    let mut choices = Vec::new();
    add(command, command.get_name(), &mut choices);
    choices
}

fn add(command: &Command, path: &str, choices: &mut Vec<Choice>) {
    for option in command.get_arguments() {
        let words = words(option);
        if words.is_empty() {
            continue;
        }
        let long = option.get_long().map(|long| format!("--{long}"));
        let short = option.get_short().map(|short| format!("-{short}"));
        // A positional argument comes after its command.
        let bare = option.is_positional().then(|| command.get_name().to_owned());
        let before = short.into_iter().chain(long).chain(bare);
        let places = before.map(|before| format!("{path} {before}"));
        match choices.iter_mut().find(|known| known.words == words) {
            Some(known) => known.places.extend(places),
            None => {
                let names = option.get_value_names().unwrap_or_default();
                let takes_plus = names.iter().any(|name| name.starts_with("[+]"));
                choices.push(Choice { places: places.collect(), words, takes_plus });
            }
        }
    }
    for subcommand in command.get_subcommands() {
        add(subcommand, &format!("{path};{}", subcommand.get_name()), choices);
    }
}

/// The words that an option takes.
fn words(option: &Arg) -> Vec<(String, String)> {
    let word = |value: PossibleValue| {
        let name = value.get_name().to_owned();
        // PowerShell refuses an empty meaning.
        let meaning = value.get_help().map_or_else(|| name.clone(), ToString::to_string);
        (name, meaning)
    };
    option.get_possible_values().into_iter().map(word).collect()
}

/// Text in single quotes, as both shells take it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The words of positional arguments.
fn fish(choices: &[Choice]) -> String {
    let mut lines = String::new();
    for Choice { places, words, .. } in choices {
        let words: Vec<_> = words.iter().map(|(word, _)| &**word).collect();
        for (path, before) in places.iter().filter_map(|place| place.split_once(' ')) {
            if path.rsplit(';').next() == Some(before) {
                let when = format!("__fish_sockleak_using_subcommand {before}");
                lines += &format!("complete -c sockleak -n '{when}' -f -a '{}'\n", words.join(" "));
            }
        }
    }
    lines
}

/// Elvish tries what was typed as a beginning of each candidate.
fn elvish(choices: &[Choice]) -> String {
    let (mut lists, mut places) = (String::new(), String::new());
    for (at, choice) in choices.iter().enumerate() {
        let words = choice
            .words
            .iter()
            .map(|(word, meaning)| format!("\n            [{} {}]", quoted(word), quoted(meaning)));
        let plus = if choice.takes_plus { "'+'" } else { "''" };
        lists +=
            &format!("\n        [&plus={plus} &words=[{}\n        ]]", words.collect::<String>());
        for place in &choice.places {
            places += &format!("\n        &{}={at}", quoted(place));
        }
    }
    format!(
        "    # Words that options take; of a list with commas, the last one.
    var lists = [{lists}
    ]
    var places = [{places}
    ]
    var typed option before = $words[-1] $words[-2] ''
    if (and (str:has-prefix $typed '--') (str:contains $typed '=')) {{
        set option typed = (str:split &max=2 '=' $typed)
        set before = $option'='
    }}
    if (has-key $places $command' '$option) {{
        var list = $lists[$places[$command' '$option]]
        if (str:has-prefix $typed '+') {{
            set before typed = $before$list[plus] $typed[1..]
        }}
        set before = $before$typed[..(+ 1 (str:last-index $typed ','))]
        for word $list[words] {{
            cand $before$word[0] $word[1]
        }}
    }} else {{
        $completions[$command]
    }}
"
    )
}

/// PowerShell takes a list with commas for an array: no word of that is completed here.
fn powershell(choices: &[Choice]) -> String {
    let mut cases = String::new();
    for Choice { places, words, takes_plus } in choices {
        let places: Vec<_> = places.iter().map(|place| quoted(place)).collect();
        let plus = match takes_plus {
            true => "\n            if ($typed.StartsWith('+')) { $before += '+' }",
            false => "",
        };
        let result = |(word, meaning): &(String, String)| {
            let (quoted, meaning) = (quoted(word), quoted(meaning));
            let kind = "[CompletionResultType]::ParameterValue";
            format!(
                "\n            [CompletionResult]::new(\"${{before}}{word}\", {quoted}, {kind}, {meaning})"
            )
        };
        let places = places.join(",\n            ");
        let results: String = words.iter().map(result).collect();
        cases += &format!(
            "\n        {{ @(\n            {places}\n        ) -ccontains $_ }} {{{plus}{results}\n            \
             break\n        }}"
        );
    }
    format!(
        "    # Words that options take.
    $typed, $before = $wordToComplete, ''
    $texts = @($commandElements | ForEach-Object {{ $_.Extent.Text }})
    $option = if ($typed -eq '') {{ $texts[-1] }} else {{ $texts[-2] }}
    if ($typed.StartsWith('--') -and $typed.Contains('=')) {{
        $option, $typed = $typed.Split('=', 2)
        $before = \"$option=\"
    }}
    $words = @(switch (\"$command $option\") {{{cases}
    }})
    if ($words) {{
        return $words.Where({{ $_.CompletionText -like \"$wordToComplete*\" }})
    }}

"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::command::{Cli, completions};
    use crate::report::column::Column;
    use crate::sock::leak::Verdict;
    use crate::sock::state::State;

    /// Words by the places where they may stand.
    fn by_place() -> BTreeMap<String, Vec<String>> {
        let mut command = Cli::command();
        command.build();
        let choices = choices(&command).into_iter();
        let each = choices.flat_map(|Choice { places, words, .. }| {
            let words: Vec<_> = words.into_iter().map(|(word, _)| word).collect();
            places.into_iter().map(move |place| (place, words.clone()))
        });
        each.collect()
    }

    #[test]
    fn words_stand_after_every_option_that_takes_them() {
        let words = by_place();
        let states: Vec<_> = State::ALL.map(State::flag).into_iter().chain(["all"]).collect();
        let columns: Vec<_> = Column::value_variants().iter().map(|one| one.name()).collect();
        let verdicts = Verdict::ALL.map(Verdict::name);
        for command in ["sockleak", "sockleak;watch", "sockleak;list"] {
            for option in ["-s", "--state"] {
                assert_eq!(words[&format!("{command} {option}")], states);
            }
            for option in ["-o", "--columns"] {
                assert_eq!(words[&format!("{command} {option}")], columns);
            }
            let topics = &words[&format!("{command} --explain")];
            assert!(topics.starts_with(&verdicts.map(str::to_owned)), "{topics:?}");
        }
        assert!(!words.contains_key("sockleak;list -O"), "a file");
        assert!(!words.contains_key("sockleak;list --json"), "takes nothing");
    }

    #[test]
    fn every_script_has_every_word() {
        for &shell in Shell::value_variants() {
            let script = completions::script(shell).unwrap();
            let has = |word: &str| {
                script
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                    .any(|one| one == word)
            };
            for (place, words) in by_place() {
                for word in words {
                    assert!(has(&word), "{shell}: {word} after {place}");
                }
            }
        }
    }

    #[test]
    fn text_ends_with_its_quotes() {
        assert_eq!(quoted("a pod's \"logs\""), "'a pod''s \"logs\"'");
    }
}
