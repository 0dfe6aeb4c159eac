//! How far an answer can be trusted: the closed set of reasons why it may be incomplete.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::sock::conn::Endpoint;

/// Why something may be missing or wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Incomplete {
    /// Events were lost since the last scan.
    EventsLost(u64),
    /// Records from the kernel could not be read.
    RecordsUnreadable(u64),
    /// The table has room for so many sockets.
    TableFull(usize),
    /// There was no room for so many listeners, or connections in their queues.
    QueuesTruncated(u64),
    /// An accept queue is longer than this kernel can walk.
    QueueTruncated {
        /// Where it listens.
        listener: Endpoint,
        /// In which network namespace.
        netns: u32,
        /// How many of its connections were seen.
        bound: u32,
    },
    /// This kernel does not let the walk through all connections come to its end.
    WalkTruncated,
    /// Number of chains of the kernel's hash tables that changed each time that they were walked.
    WalkStrayed(u32),
    /// Number of chains that are longer than a walk follows.
    ChainOverlong(u32),
    /// The kernel is not what the programs were written for.
    UnknownKernel(String),
    /// Sockets wait for a scan, which waits for its budget.
    ScanOverdue {
        /// How old the last scan is.
        age: Duration,
        /// The CPU time that a scan takes.
        cost: Duration,
    },
    /// Sockets of unknown owner may belong to a process that was asked for.
    OwnersUnknown(usize),
    /// Nobody can tell who the holders of some sockets are.
    OwnersUnidentified {
        /// How many of these are not shown, and may belong to processes that were asked for.
        missing: usize,
        /// How many are shown, and may be known leaks.
        perhaps_known: usize,
    },
    /// Number of processes that have files in the tables of io_urings, where this kernel does not let
    /// us look.
    RingsUnseen(usize),
    /// Number of leaked sockets that may be as old as was asked for: one look cannot tell.
    AgeUnknown(usize),
}

impl Incomplete {
    /// The word for it, in JSON and in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::EventsLost(_) => "events-lost",
            Self::RecordsUnreadable(_) => "records-unreadable",
            Self::TableFull(_) => "table-full",
            Self::QueuesTruncated(_) => "queues-truncated",
            Self::QueueTruncated { .. } => "queue-truncated",
            Self::WalkTruncated => "walk-truncated",
            Self::WalkStrayed(_) => "walk-strayed",
            Self::ChainOverlong(_) => "chain-overlong",
            Self::UnknownKernel(_) => "unknown-kernel",
            Self::ScanOverdue { .. } => "scan-overdue",
            Self::OwnersUnknown(_) => "owners-unknown",
            Self::OwnersUnidentified { .. } => "owners-unidentified",
            Self::RingsUnseen(_) => "rings-unseen",
            Self::AgeUnknown(_) => "age-unknown",
        }
    }

    /// True if it matters to somebody who asks for these network namespaces only; an empty list
    /// asks for all.
    pub fn concerns(&self, asked_for: &[u32]) -> bool {
        let concerns = |netns: &u32| asked_for.is_empty() || asked_for.contains(netns);
        match self {
            Self::QueueTruncated { netns, .. } => concerns(netns),
            _ => true,
        }
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventsLost(events) => write!(
                f,
                "{events} events were lost since the last scan: the next one makes up for them \
                 (a larger --ring-size loses fewer)"
            ),
            Self::RecordsUnreadable(records) => write!(
                f,
                "{records} records from the kernel could not be read: please report it, with the \
                 output of `sockleak doctor`"
            ),
            Self::TableFull(capacity) => write!(
                f,
                "the table is full: it has room for {capacity} sockets (filters on network \
                 namespaces do not help; close some leaks first)"
            ),
            Self::QueuesTruncated(records) => write!(
                f,
                "{records} listeners or connections in accept queues are missing: there are more \
                 than a scan has room for"
            ),
            Self::QueueTruncated { listener, bound, .. } => write!(
                f,
                "the accept queue of {listener} is longer than the {bound} connections that this \
                 kernel can walk: Linux 5.17 and later can"
            ),
            Self::WalkTruncated => f.write_str(
                "sockets without a descriptor may be missing: this kernel lets us walk through a \
                 part of its connections only (Linux 5.17 and later: through all)",
            ),
            Self::WalkStrayed(chains) => write!(
                f,
                "sockets without a descriptor may be missing: {chains} chains of the kernel's hash \
                 table of connections changed each time that they were read; run it again"
            ),
            Self::ChainOverlong(chains) => write!(
                f,
                "sockets without a descriptor may be missing: {chains} chains of a hash table of \
                 connections are too long to follow; a network namespace with \
                 net.ipv4.tcp_child_ehash_entries far too small for its connections has such"
            ),
            Self::UnknownKernel(what) => write!(
                f,
                "this kernel is not like those that sockleak knows: {what}; use a newer sockleak"
            ),
            Self::ScanOverdue { age, cost } => write!(
                f,
                "the last scan is {:.1} s old: a scan takes {:.2} s of CPU, and the budget is used \
                 up; owners are as of then",
                age.as_secs_f64(),
                cost.as_secs_f64()
            ),
            Self::OwnersUnknown(sockets) => write!(
                f,
                "{sockets} more leaked sockets may belong to these processes: their owner is not \
                 known (see `sockleak --explain unknown`), or they have more holders than are listed"
            ),
            Self::OwnersUnidentified { missing, perhaps_known } => {
                if *missing > 0 {
                    write!(f, "{missing} more leaked sockets may belong to these processes")?;
                }
                if *missing > 0 && *perhaps_known > 0 {
                    f.write_str(", and ")?;
                }
                if *perhaps_known > 0 {
                    write!(f, "{perhaps_known} of the leaked sockets may be known ones (--not)")?;
                }
                f.write_str(
                    ": who holds them could not be read (--exe needs CAP_SYS_PTRACE, the names of pods a \
                     --pod-logs folder), or not yet",
                )
            }
            Self::RingsUnseen(processes) => write!(
                f,
                "{processes} of these processes have files in the tables of io_urings, which cannot \
                 be looked into: Linux 6.13 and later lets us"
            ),
            Self::AgeUnknown(sockets) => write!(
                f,
                "{sockets} leaked sockets may be older than --min-age: one look cannot tell; \
                 `sockleak watch` can"
            ),
        }
    }
}

impl Serialize for Incomplete {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Incomplete", 2)?;
        object.serialize_field("reason", self.reason())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

/// How far what a table says can be trusted.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why something may be missing or wrong; empty if nothing can be.
    pub incomplete: Vec<Incomplete>,
    /// How many events the kernel could not hand over, since the start.
    pub lost_events: u64,
    /// When the last scan began: ns, `CLOCK_MONOTONIC`; 0 if there was none.
    pub scanned: u64,
    /// How many scans there were, and what they took.
    pub scans: Scans,
}

/// Scans since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scans {
    /// How many there were.
    pub total: u64,
    /// How long the last one took.
    pub duration: Duration,
    /// The CPU time that all of them took.
    pub cpu: Duration,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn every_reason() -> [Incomplete; 14] {
        let listener = Endpoint::new([0; 16], 80);
        [
            Incomplete::EventsLost(11),
            Incomplete::RecordsUnreadable(12),
            Incomplete::TableFull(13),
            Incomplete::QueuesTruncated(14),
            Incomplete::QueueTruncated { listener, netns: 5, bound: 15 },
            Incomplete::WalkTruncated,
            Incomplete::WalkStrayed(18),
            Incomplete::ChainOverlong(19),
            Incomplete::UnknownKernel("struct sock".to_owned()),
            Incomplete::ScanOverdue { age: Duration::from_secs(16), cost: Duration::from_secs(1) },
            Incomplete::OwnersUnknown(17),
            Incomplete::OwnersUnidentified { missing: 21, perhaps_known: 22 },
            Incomplete::RingsUnseen(3),
            Incomplete::AgeUnknown(20),
        ]
    }

    #[test]
    fn each_reason_has_a_word_and_a_sentence_with_its_facts() {
        let words: BTreeSet<_> = every_reason().iter().map(Incomplete::reason).collect();
        assert_eq!(words.len(), every_reason().len());
        for word in words {
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{word}");
        }
        let facts = [
            "11",
            "12",
            "13",
            "14",
            "15",
            "",
            "18",
            "19",
            "struct sock",
            "16.0 s",
            "17",
            "21",
            "3",
            "20",
        ];
        for (reason, fact) in every_reason().iter().zip(facts) {
            let sentence = reason.to_string();
            assert!(sentence.contains(fact) && sentence.len() > 40, "{sentence}");
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json["reason"], reason.reason());
            assert_eq!(json["text"], *sentence);
            assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
        }
    }

    #[test]
    fn who_cannot_be_told_is_counted_where_it_matters() {
        let sentence = |missing, perhaps_known| {
            let text = Incomplete::OwnersUnidentified { missing, perhaps_known }.to_string();
            text.split_once(": who holds them").unwrap().0.to_owned()
        };
        assert_eq!(sentence(3, 0), "3 more leaked sockets may belong to these processes");
        assert_eq!(sentence(0, 4), "4 of the leaked sockets may be known ones (--not)");
        let both = "3 more leaked sockets may belong to these processes, and 4 of the leaked sockets may \
                    be known ones (--not)";
        assert_eq!(sentence(3, 4), both);
    }

    #[test]
    fn what_is_missing_elsewhere_does_not_concern_who_asks_for_a_namespace() {
        for reason in every_reason() {
            assert!(reason.concerns(&[]), "{reason:?}");
            assert!(reason.concerns(&[5]) && reason.concerns(&[7, 5]), "{reason:?}");
            let is_of_netns = matches!(reason, Incomplete::QueueTruncated { .. });
            assert_eq!(reason.concerns(&[7]), !is_of_netns, "{reason:?}");
        }
    }
}
