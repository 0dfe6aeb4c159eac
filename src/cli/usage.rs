//! The text of a usage error: one line that names what is wrong, and the remedy.

use clap::error::{ContextKind, ContextValue};

/// A usage error in one line.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // Then follow possible values, tips and usage: paragraphs that are too much for a line.
    let problem = text.lines().next().unwrap_or_default();
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
