//! The contents of a report: which sockets, in which order, judged by what.

use rustc_hash::FxHashMap;

use super::filter::Filter;
use crate::live::table::Table;
use crate::sock::conn::Conn;
use crate::sock::state::{State, StateSet};

/// Which sockets are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The leaked ones.
    #[default]
    Leaked,
    /// The stranded ones, too.
    Stranded,
    /// All in these states, leaked or not.
    States(StateSet),
}

impl Shown {
    /// The word for rows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Stranded => "leaked or stranded",
            Self::States(_) => "listed",
        }
    }
}

/// A question that a report answers.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which sockets count.
    pub filter: Filter,
    /// Which of them are rows.
    pub shown: Shown,
    /// The order of rows.
    pub sort: SortKey,
    /// A connection is idle when nothing has moved for so many ns.
    pub idle: u64,
    /// How many ns two looks are apart.
    pub settle: u64,
    /// True to name the holders of the other ends.
    pub peer: bool,
}

/// Keys by which rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortKey {
    /// The oldest first.
    #[default]
    Age,
    /// By the holder's PID.
    Pid,
    /// By the holder's name.
    Comm,
    /// By our end.
    Local,
    /// By the peer's end.
    Remote,
    /// By the state.
    State,
    /// By the verdict.
    Verdict,
    /// The most unread bytes first.
    Unread,
}

/// An index of a table by connection, where peers are asked for; it has to outlive the report.
pub type Peers = FxHashMap<Conn, u32>;

impl Query {
    /// Where in the table each connection is, if the query needs that.
    pub fn peers(&self, table: &Table) -> Option<Peers> {
        self.peer.then(|| by_conn(table))
    }
}

/// Where each connection of a table is.
fn by_conn(table: &Table) -> FxHashMap<Conn, u32> {
    let connected = (0..).zip(table.socks()).filter(|(_, (_, tracked))| {
        tracked.state != State::Listen && tracked.conn.remote.port != 0
    });
    connected.map(|(index, (_, tracked))| (tracked.conn, index)).collect()
}
