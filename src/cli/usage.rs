//! The text of a usage error: one line that names what is wrong, and the remedy.

use clap::error::{ContextKind, ContextValue};

/// A usage error in one line.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // The first paragraph names the problem. Possible values, tips and usage follow: too much for a line.
    let mut lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let mut problem = lines.next().unwrap_or_default().to_owned();
    if problem.ends_with(':') {
        problem = format!("{problem} {}", lines.collect::<Vec<_>>().join(", "));
    }
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    match suggested.into_iter().find_map(|kind| first(error.get(kind)?)) {
        Some(suggested) => format!("{problem}: did you mean '{suggested}'? See --help"),
        None => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                format!("{problem}: possible values are {}; see --help", values.join(", "))
            }
            _ => format!("{problem}; see --help"),
        },
    }
}

fn first(value: &ContextValue) -> Option<&str> {
    match value {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.first().map(String::as_str),
        _ => None,
    }
}
