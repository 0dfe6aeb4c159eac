//! The planted connections, and how far a tool's answer agrees with them.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, SocketAddrV4};

use serde::Serialize;

use crate::parse::Row;
use crate::plant::Planted;

/// Every planted connection, with the process and the descriptor that hold it.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    held: HashMap<(SocketAddr, SocketAddr), (u32, i32)>,
}

/// Counts of right and wrong rows in a tool's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) planted: usize,
    pub(crate) found: usize,
    /// Planted connections with another process or descriptor.
    pub(crate) wrong_owners: usize,
    /// Planted connections with no owner.
    pub(crate) without_owner: usize,
    /// Rows for sockets that were not planted here.
    pub(crate) others: usize,
}

impl Verdict {
    /// Rows that are missing, or have a wrong owner or none.
    pub(crate) fn errors(&self) -> usize {
        self.wrong_owners + self.without_owner + self.planted - self.found
    }
}

impl Truth {
    pub(crate) fn add(&mut self, planted: &Planted) {
        let first = planted.first_peer;
        for (&fd, port) in planted.fds.iter().zip(first.port()..) {
            let peer = SocketAddrV4::new(*first.ip(), port);
            let conn = (planted.local.into(), peer.into());
            self.held.insert(conn, (planted.pid, fd));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn judge(&self, rows: &[Row]) -> Verdict {
        let mut found = HashSet::new();
        let mut verdict = Verdict {
            planted: self.held.len(),
            found: 0,
            wrong_owners: 0,
            without_owner: 0,
            others: 0,
        };
        for row in rows {
            let conn = (row.local, row.remote);
            let Some(&(pid, fd)) = self.held.get(&conn) else {
                verdict.others += 1;
                continue;
            };
            found.insert(conn);
            match row.owner {
                Some((its, told)) if its == pid && told.is_none_or(|told| told == fd) => {}
                Some(_) => verdict.wrong_owners += 1,
                None => verdict.without_owner += 1,
            }
        }
        verdict.found = found.len();
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_counts_by_itself() {
        let local = SocketAddrV4::new([127, 0, 0, 1].into(), 9000);
        let first_peer = SocketAddrV4::new([127, 1, 0, 1].into(), 10_000);
        let mut truth = Truth::default();
        truth.add(&Planted { pid: 42, local, first_peer, fds: vec![5, 6, 7, 8] });
        let row = |port, owner| Row {
            local: local.into(),
            remote: SocketAddrV4::new(*first_peer.ip(), port).into(),
            owner,
        };
        let rows = [
            row(10_000, Some((42, Some(5)))),
            row(10_001, Some((42, Some(5)))),
            row(10_002, None),
            row(9_999, Some((42, None))),
        ];
        let verdict =
            Verdict { planted: 4, found: 3, wrong_owners: 1, without_owner: 1, others: 1 };
        assert_eq!(truth.judge(&rows), verdict);
    }
}
