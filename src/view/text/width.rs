//! How wide text is on a terminal, and how it is made to fit there.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// The end of text that was cut.
pub(super) const ELLIPSIS: &str = "…";

/// How many columns this UTF-8 takes.
pub(super) fn width(text: &[u8]) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => String::from_utf8_lossy(text).chars().map(columns).sum(),
    }
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The text, cut where it takes more than so many columns.
pub(super) fn cut(text: &[u8], most: usize) -> Cow<'_, [u8]> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    let text = String::from_utf8_lossy(text);
    let mut kept = head(&text, most.saturating_sub(1)).to_owned();
    if most > 0 {
        kept.push_str(ELLIPSIS);
    }
    Cow::Owned(kept.into_bytes())
}

/// As much of the beginning as fits so many columns.
fn head(text: &str, most: usize) -> &str {
    let mut left = most;
    let end = text.char_indices().find(|&(_, c)| match left.checked_sub(columns(c)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// A sentence in lines of at most so many columns; all but the first are indented.
pub(super) fn wrapped(sentence: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in sentence.split_whitespace() {
        let taken = width(line.as_bytes());
        let is_blank = line.trim_start().is_empty();
        if !is_blank && taken + 1 + width(word.as_bytes()) > most {
            lines.push(std::mem::replace(&mut line, "  ".to_owned()));
        } else if !is_blank {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    // A word may be wider than a line.
    let fits = |line: String| String::from_utf8_lossy(&cut(line.as_bytes(), most)).into_owned();
    lines.into_iter().map(fits).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut_text(text: &str, most: usize) -> String {
        String::from_utf8(cut(text.as_bytes(), most).into_owned()).unwrap()
    }

    #[test]
    fn text_that_fits_stays_and_other_text_ends_in_an_ellipsis() {
        assert_eq!(cut_text("python3", 7), "python3");
        assert_eq!(cut_text("python3", 6), "pytho…");
        assert_eq!(cut_text("python3", 1), "…");
        assert_eq!(cut_text("python3", 0), "");
        // Each of these takes two columns.
        assert_eq!(width("サーバー".as_bytes()), 8);
        assert_eq!(cut_text("サーバー", 8), "サーバー");
        assert_eq!(cut_text("サーバー", 7), "サーバ…");
        assert_eq!(cut_text("サーバー", 6), "サー…");
    }

    #[test]
    fn sentences_are_wrapped_at_words() {
        let sentence = "the last scan is 16 s old";
        assert_eq!(wrapped(sentence, 80), [sentence]);
        assert_eq!(wrapped(sentence, 16), ["the last scan is", "  16 s old"]);
        assert_eq!(wrapped("a wordthatistoolong", 8), ["a", "  wordt…"]);
        assert_eq!(wrapped("", 8), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_it_may_be(text: String, most in 0_usize..40) {
            prop_assert!(width(&cut(text.as_bytes(), most)) <= most);
            for line in wrapped(&text, most) {
                prop_assert!(width(line.as_bytes()) <= most);
            }
        }
    }
}
