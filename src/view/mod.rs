//! Views: a finished value in, bytes out. One file a format.

mod chunks;
pub mod doctor;
pub mod events;
pub mod json;
pub mod residence;
pub mod text;

use std::borrow::Cow;

/// What other processes call themselves, made harmless for a terminal: each character that would
/// act instead of print becomes U+FFFD.
pub fn sanitised(name: &str) -> Cow<'_, str> {
    let prints = |c: char| matches!(c, ' '..='~') || c.escape_debug().len() == 1;
    if name.chars().all(prints) {
        return Cow::Borrowed(name);
    }
    let plain = |c| {
        if prints(c) { c } else { char::REPLACEMENT_CHARACTER }
    };
    Cow::Owned(name.chars().map(plain).collect())
}

#[cfg(test)]
mod tests;
