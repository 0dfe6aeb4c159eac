//! Known leaks: a file that is written once, and read by later runs.
//!
//! An entry says which leaks it means by what stays the same from run to run: the command's name, the
//! verdict, the direction, and the listener's port or the remote end. A port that the kernel has chosen
//! stands as null, which means any of those.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::leak::Leak;
use crate::report::row::Direction;
use crate::sock::name::sanitised;

/// No baseline has as many bytes: a hundred thousand entries.
const MAX_BYTES: u64 = 16 << 20;
/// Raised when a field changes its meaning.
const SCHEMA: u32 = 1;

/// Properties that leaks of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// The name of the process, sanitised.
    pub comm: String,
    /// The verdict's word.
    pub verdict: String,
    /// `accepted` or `connected`, where that is known.
    pub direction: Option<String>,
    /// The listener's port, of an accepted connection; null where the kernel has chosen it.
    pub port: Option<u16>,
    /// The peer's end, of a connection that the process made; without its port where the kernel has
    /// chosen that.
    pub remote: Option<String>,
}

/// A kind, and how many leaks of it are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The kind.
    #[serde(flatten)]
    pub kind: Kind,
    /// How many.
    pub count: usize,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// [`SCHEMA`].
    schema: u32,
    /// The known leaks.
    pub known: Vec<Entry>,
}

/// The ports that the kernel chooses from.
pub type Ephemeral = RangeInclusive<u16>;

impl Kind {
    /// The kind of a leak.
    pub fn of(leak: &Leak, ephemeral: &Ephemeral) -> Self {
        let is_chosen = |port: u16| ephemeral.contains(&port);
        let (mut port, mut remote) = (None, None);
        match leak.direction {
            Some(Direction::Accepted) => {
                port = Some(leak.local.port).filter(|&port| !is_chosen(port));
            }
            _ if is_chosen(leak.remote.port) => remote = Some(leak.remote.addr().to_string()),
            _ => remote = Some(leak.remote.to_string()),
        }
        Self {
            comm: sanitised(&leak.comm).into_owned(),
            verdict: leak.verdict.map_or("unknown", |verdict| verdict.name()).to_owned(),
            direction: leak.direction.map(|direction| direction.name().to_owned()),
            port,
            remote,
        }
    }
}

impl Baseline {
    /// The leaks of a run, as known ones.
    pub fn of<'a>(leaks: impl Iterator<Item = &'a Leak>, ephemeral: &Ephemeral) -> Self {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for leak in leaks {
            *counts.entry(Kind::of(leak, ephemeral)).or_default() += 1;
        }
        Self::from(counts)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is no such file.
    pub fn read(file: impl Read) -> io::Result<Self> {
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(io::Error::other(format!("more than {} MiB", MAX_BYTES >> 20)));
        }
        Self::parse(&text).map_err(io::Error::other)
    }

    /// Reads the text of a file. Entries of the same kind, as a merge of two files may have them, are one.
    ///
    /// # Errors
    /// Where it is no such text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.schema != SCHEMA {
            return Err(format!("schema {} is not known", file.schema));
        }
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for Entry { kind, count } in file.known {
            let sum = counts.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        Ok(Self::from(counts))
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that is known.
    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Tells known leaks from others: an entry stands for as many leaks as it counts.
    pub fn matcher<'a>(&'a self, ephemeral: &'a Ephemeral) -> Matcher<'a> {
        let left = self.known.iter().map(|entry| entry.count).collect();
        Matcher { known: &self.known, left, ephemeral }
    }
}

impl From<BTreeMap<Kind, usize>> for Baseline {
    fn from(counts: BTreeMap<Kind, usize>) -> Self {
        let known = counts.into_iter().map(|(kind, count)| Entry { kind, count });
        Self { schema: SCHEMA, known: known.collect() }
    }
}

/// A baseline that is being used up.
pub struct Matcher<'a> {
    known: &'a [Entry],
    left: Vec<usize>,
    ephemeral: &'a Ephemeral,
}

impl Matcher<'_> {
    /// Returns true if a leak is known.
    pub fn takes(&mut self, leak: &Leak) -> bool {
        let kind = Kind::of(leak, self.ephemeral);
        let entry = self.known.iter().position(|entry| entry.kind == kind);
        let left = entry.and_then(|at| self.left.get_mut(at)).filter(|left| **left > 0);
        let is_known = left.is_some();
        if let Some(left) = left {
            *left -= 1;
        }
        is_known
    }

    /// The entries that no longer occur.
    pub fn gone(self) -> Vec<Entry> {
        let all = self.known.iter().zip(self.left);
        all.filter(|(entry, left)| *left == entry.count).map(|(entry, _)| entry.clone()).collect()
    }
}
