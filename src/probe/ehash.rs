//! The walk through all connections, in each of the kernel's hash tables.
//!
//! One table serves all network namespaces but those that have asked for their own. Namespaces are
//! taken from the kernel's own list (`scan_netns` in `ehash.h`): some live without a process, kept by
//! a descriptor, a mount or a socket alone. None has to be entered, so that takes no privilege.

use std::collections::BTreeSet;

use libbpf_rs::{Link, MapCore, MapFlags};
use plain::Plain;

use super::ProbeError;
use super::error::refused;
use super::iterators::{Links, open, read_to_break, read_walk};
use super::threads::{Pieces, READ_MAX};
use crate::bpf::types::{netns_record, table_walk};

/// A step of the walk has room for 192 sockets. Where it meets more, the table is walked through
/// again, for those that follow: at the most so often that a chain as long as a walk goes
/// (`CHAIN_MAX`) has come to its end.
const WALKS_MAX: u32 = (1 << 16) / STEP_ROOM + 1;
/// `FOUND_MAX`.
const STEP_ROOM: u32 = 192;

impl Links {
    /// Walks through all connections. Says which network namespaces there are, where it has to know.
    pub(super) fn read_ehash(
        &self,
        pieces: &Pieces<'_>,
    ) -> Result<Option<BTreeSet<u32>>, ProbeError> {
        let Some(hash) = &self.hash else {
            return Ok(None);
        };
        let namespaces = self.namespaces.as_ref().map(list).transpose()?;
        let inodes = namespaces.as_ref().map(|all| all.iter().map(|one| one.inode).collect());
        // The current one's table is everybody's where none can have its own.
        let tables = namespaces.map_or_else(|| vec![netns_record::default()], tables);
        for table in tables {
            for walks in 0..WALKS_MAX {
                let (net, inode, skip) = (table.net, table.inode, walks * STEP_ROOM);
                self.set_walk(&table_walk { net, inode, skip, ..table_walk::default() })?;
                read_walk(hash, pieces)?;
                if !self.has_more()? {
                    break;
                }
            }
        }
        Ok(inodes)
    }

    fn set_walk(&self, walk: &table_walk) -> Result<(), ProbeError> {
        #[expect(unsafe_code, reason = "it is plain data")]
        let bytes = unsafe { plain::as_bytes(walk) };
        let set = self.walked.update(&ONLY, bytes, MapFlags::ANY);
        set.map_err(refused("choose a hash table"))
    }

    /// True if the last walk has met more sockets than it had room for.
    fn has_more(&self) -> Result<bool, ProbeError> {
        let value = self.walked.lookup(&ONLY, MapFlags::ANY);
        let value = value.map_err(refused("look up a walk"))?.unwrap_or_default();
        let mut walk = table_walk::default();
        Ok(walk.copy_from_bytes(&value).is_ok() && walk.more != 0)
    }
}

/// The key of an array's only element.
const ONLY: [u8; 4] = [0; 4];

/// One namespace for each table.
fn tables(namespaces: Vec<netns_record>) -> Vec<netns_record> {
    namespaces.into_iter().filter(|one| one.is_initial != 0 || one.has_ehash != 0).collect()
}

/// Reads which network namespaces there are.
fn list(link: &Link) -> Result<Vec<netns_record>, ProbeError> {
    let mut iter = open(link)?;
    let mut buffer = vec![0; READ_MAX];
    let mut found = Vec::new();
    loop {
        let len = read_to_break(&mut iter, &mut buffer)?;
        if len == 0 {
            return Ok(found);
        }
        for record in buffer[..len].chunks_exact(size_of::<netns_record>()) {
            let mut netns = netns_record::default();
            if netns.copy_from_bytes(record).is_ok() {
                found.push(netns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_walked_once() {
        let netns = |inode, is_initial, has_ehash| netns_record {
            inode,
            is_initial,
            has_ehash,
            ..netns_record::default()
        };
        let all = vec![netns(2, 0, 1), netns(3, 0, 0), netns(1, 1, 0), netns(4, 0, 1)];
        let walked: Vec<_> = tables(all).iter().map(|one| one.inode).collect();
        assert_eq!(walked, [2, 1, 4]);
    }
}
