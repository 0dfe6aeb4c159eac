//! Names that other processes chose, made harmless for whoever reads them.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

/// The name, with U+FFFD for each character that would act instead of print, or that cannot be seen.
pub fn sanitised(name: &str) -> Cow<'_, str> {
    if name.chars().all(is_harmless) {
        return Cow::Borrowed(name);
    }
    let plain = |c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER };
    Cow::Owned(name.chars().map(plain).collect())
}

/// For serde's `serialize_with`.
pub(crate) fn serialize<S: Serializer>(
    name: &impl AsRef<str>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    sanitised(name.as_ref()).serialize(serializer)
}

/// The same for a name that may not be known.
pub(crate) fn serialize_optional<S: Serializer>(
    name: &Option<impl AsRef<str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    name.as_ref().map(|name| sanitised(name.as_ref())).serialize(serializer)
}

/// A character that Rust would not escape in a string is printable: neither a control, nor a format
/// character (as those that change the direction are), nor a mark that has no width. Some of these
/// cannot be seen.
fn is_harmless(c: char) -> bool {
    matches!(c, ' '..='~') || c.escape_debug().len() == 1 && !is_invisible(c)
}

/// Unicode's Default_Ignorable_Code_Point as far as it counts as printable, and what has a width but
/// no ink.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' // soft hyphen
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels
        | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' // variation selectors
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' // blank Braille cell
        | '\u{fff0}'..='\u{fff8}'
        | '\u{1d159}' // null notehead
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' // tags, variation selectors
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    /// Unicode's own classes of what must not get through, by another library's tables.
    fn harmful() -> Regex {
        Regex::new(
            r"[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\p{Mn}\p{Me}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}\x{2800}]",
        )
        .unwrap()
    }

    #[test]
    fn no_harmful_character_gets_through() {
        let harmful = harmful();
        let mut text = String::new();
        for c in '\0'..=char::MAX {
            text.clear();
            text.push(c);
            let expected = if harmful.is_match(&text) { "\u{fffd}" } else { &*text };
            let got = sanitised(&text);
            assert!(got == expected || got == "\u{fffd}", "U+{:04X}", c as u32);
        }
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in
            ["", "python3", "my-server: [1]", r#"a"b\c','d"#, "größe", "サーバー", "сервер", "🦀"]
        {
            assert_eq!(sanitised(name), name);
        }
    }

    proptest! {
        /// Each character is replaced on its own; the others stay; and once is enough.
        #[test]
        fn characters_are_replaced_one_by_one(name: String) {
            let plain = sanitised(&name);
            prop_assert_eq!(plain.chars().count(), name.chars().count());
            prop_assert!(!harmful().is_match(&plain));
            for (before, after) in name.chars().zip(plain.chars()) {
                prop_assert!([before, char::REPLACEMENT_CHARACTER].contains(&after));
            }
            prop_assert_eq!(sanitised(&plain), &*plain);
        }
    }
}
