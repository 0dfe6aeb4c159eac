//! The walk through all connections, in each of the kernel's hash tables.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use libbpf_rs::Link;
use plain::Plain;

use super::ProbeError;
use super::iterators::{Links, open, read_some, read_walk};
use super::threads::{Pieces, READ_MAX};
use crate::bpf::types::netns_record;
use crate::host::netns;

impl Links {
    /// Walks through all connections. Says which network namespaces it could not look into.
    pub(super) fn read_ehash(&self, pieces: &Pieces<'_>) -> Result<Vec<u32>, ProbeError> {
        let Some(hash) = &self.hash else {
            return Ok(Vec::new());
        };
        // From a network namespace one sees the table that it shares, or its own.
        let walk = || read_walk(hash, pieces);
        walk()?;
        let Some(namespaces) = &self.namespaces else {
            return Ok(Vec::new());
        };
        let inhabited = inhabited(namespaces)?;
        let (apart, elsewhere) = places(&inhabited, netns::own());
        let paths = match apart.is_empty() && elsewhere.is_empty() {
            true => BTreeMap::new(),
            false => netns::all(),
        };
        let enter = |netns| paths.get(&netns).map_or(Ok(false), |path| inside(path, walk));
        let mut unreachable = Vec::new();
        for netns in apart {
            if !enter(netns)? {
                unreachable.push(netns);
            }
        }
        let mut seen = elsewhere.is_empty();
        for &netns in &elsewhere {
            seen = seen || enter(netns)?;
        }
        if !seen {
            unreachable.extend(elsewhere);
        }
        for (netns, path) in netns::named().filter(|(netns, _)| !inhabited.contains_key(netns)) {
            if !inside(&path, || if has_ehash() { walk() } else { Ok(()) })? {
                unreachable.push(netns);
            }
        }
        Ok(unreachable)
    }
}

/// Namespaces from which to look, besides our own: from each of the first, since they have tables of
/// their own, and from any of the second, since they share one.
fn places(inhabited: &BTreeMap<u32, bool>, home: Option<u32>) -> (Vec<u32>, Vec<u32>) {
    let is_apart = |netns| inhabited.get(&netns).copied().unwrap_or(false);
    let (apart, together): (Vec<_>, Vec<_>) =
        inhabited.keys().filter(|&&netns| Some(netns) != home).partition(|&&netns| is_apart(netns));
    (apart, if home.is_some_and(is_apart) { together } else { Vec::new() })
}

/// Reads which network namespaces somebody lives in, known to /proc or not; and whether each has a
/// hash table of its own.
fn inhabited(link: &Link) -> Result<BTreeMap<u32, bool>, ProbeError> {
    let mut iter = open(link)?;
    let mut buffer = vec![0; READ_MAX];
    let mut found = BTreeMap::new();
    loop {
        let len = read_some(&mut iter, &mut buffer)?;
        if len == 0 {
            break;
        }
        for record in buffer[..len].chunks_exact(size_of::<netns_record>()) {
            let mut netns = netns_record::default();
            if netns.copy_from_bytes(record).is_ok() {
                found.insert(netns.inode, netns.has_ehash != 0);
            }
        }
    }
    // A task that exits has left its namespaces.
    found.remove(&0);
    Ok(found)
}

/// Looks into a network namespace. Returns whether it could be entered.
fn inside(
    path: &Path,
    look: impl FnOnce() -> Result<(), ProbeError> + Send,
) -> Result<bool, ProbeError> {
    match netns::inside(path, look) {
        Ok(looked) => looked.map(|()| true),
        // It is gone with its last process, and so are its sockets.
        Err(error) => Ok(error.kind() == io::ErrorKind::NotFound),
    }
}

/// Returns whether this thread's network namespace has a hash table of its own: the sysctl is
/// negative where it has none.
fn has_ehash() -> bool {
    let entries = fs::read_to_string("/proc/sys/net/ipv4/tcp_ehash_entries");
    entries.is_ok_and(|entries| !entries.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_serves_all_that_share_a_table() {
        let shared = BTreeMap::from([(1, false), (2, false), (3, false)]);
        assert_eq!(places(&shared, Some(1)), (vec![], vec![]));
        let one_apart = BTreeMap::from([(1, false), (2, true), (3, false)]);
        assert_eq!(places(&one_apart, Some(1)), (vec![2], vec![]));
        assert_eq!(places(&one_apart, Some(2)), (vec![], vec![1, 3]));
    }
}
