//! `--explain`: each word that a row may have, by the bugs that lead to it.

use std::collections::BTreeMap;

use crate::common::tool::sockleak;

const WORDS: [&str; 18] = [
    "eof-read",
    "eof-unread",
    "data-unread",
    "never-accepted",
    "reset",
    "dead",
    "half-closed",
    "draining",
    "reserved",
    "unsent",
    "relayed",
    "half-shut",
    "stalled",
    "unanswered",
    "unaccepted",
    "connect-failed",
    "unconnected",
    "unknown",
];

fn explained(word: &str) -> String {
    let ran = sockleak(&["list", "--explain", word]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{word}: {ran:?}");
    ran.text().to_lowercase()
}

#[test]
fn every_word_of_a_row_is_explained_in_its_own_words() {
    let mut seen = BTreeMap::new();
    for word in WORDS.into_iter().chain(["kernel"]) {
        let text = explained(word);
        assert!(text.split_whitespace().count() >= 20, "{word}: {text}");
        assert_eq!(seen.insert(text, word), None, "{word} has another's text");
    }
}

#[test]
fn the_texts_name_the_bugs_that_give_these_verdicts() {
    let names = |word: &str, part: &str| explained(word).contains(part);
    // A body that nobody closes gives these two, by whether it came with its header.
    for word in ["eof-unread", "data-unread"] {
        assert!(names(word, "response bod"), "{word}: {}", explained(word));
    }
    assert!(names("data-unread", "pool"), "an idle connection's farewell");
    assert!(!names("reset", "had closed"), "it may come from any state");
    assert!(names("half-shut", "prox"), "the usual cause");
}
