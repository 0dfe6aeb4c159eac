//! Views: a finished value in, bytes out. One file a format.

pub mod events;
pub mod json;
pub mod text;

use std::borrow::Cow;

/// What other processes call themselves, made harmless for a terminal: what would not print is
/// escaped as in a Rust string.
pub fn sanitised(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    if name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_debug()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
