//! Facts of a row by name: the columns of text and CSV.

use clap::ValueEnum;

/// A column. Its name on the command line is the one of its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// How long the socket is in its state
    Age,
    /// How that is known: exact, or at-least
    AgeIs,
    /// How long no data has gone either way
    Idle,
    /// When the socket came into its state
    Since,
    /// The holder
    Pid,
    /// Its name
    Comm,
    /// Its command line
    Cmd,
    /// Its executable
    Exe,
    /// Its user
    User,
    /// Its systemd unit
    Unit,
    /// Its container
    Container,
    /// Its pod
    Pod,
    /// Its descriptors for the socket, or for its listener
    Fd,
    /// Our end
    Local,
    /// The peer's end
    Remote,
    /// The process at the other end, if it is on this host
    Peer,
    /// The TCP state
    State,
    /// The class: leaked, stranded, in-use
    Class,
    /// The verdict
    Verdict,
    /// Bytes that the program has not read
    Unread,
    /// Bytes that came from the peer
    Received,
    /// Bytes that the peer has acknowledged
    Sent,
    /// The inode of the network namespace
    Netns,
    /// The socket's cookie
    Cookie,
    /// How many descriptors the holder has open
    Used,
    /// How many it may have open
    Limit,
    /// Which side made the connection
    Direction,
}

impl Column {
    /// The name on the command line, and in CSV.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Columns that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// The columns that a format has by default.
    #[default]
    Default,
    /// These alone.
    Only(Vec<Column>),
    /// These besides the default.
    Also(Vec<Column>),
}

impl Columns {
    /// These, or those by default with these added. None is there twice.
    pub fn over(&self, default: Vec<Column>) -> Vec<Column> {
        let (mut all, more) = match self {
            Self::Default => return default,
            Self::Only(only) => (Vec::new(), only),
            Self::Also(more) => (default, more),
        };
        for &column in more {
            if !all.contains(&column) {
                all.push(column);
            }
        }
        all
    }

    /// The columns that were named.
    pub fn named(&self) -> &[Column] {
        match self {
            Self::Default => &[],
            Self::Only(named) | Self::Also(named) => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_column() {
        let page = include_str!("../../docs/text.md");
        for column in Column::value_variants() {
            let value = column.to_possible_value().unwrap();
            let row = format!("| `{}` | {} |", value.get_name(), value.get_help().unwrap());
            assert!(page.contains(&row), "no line {row}");
        }
    }

    #[test]
    fn columns_replace_the_default_or_are_added() {
        let default = || vec![Column::Pid, Column::Fd];
        let more = vec![Column::Fd, Column::Unit, Column::Unit];
        assert_eq!(Columns::Default.over(default()), default());
        assert_eq!(Columns::Only(more.clone()).over(default()), [Column::Fd, Column::Unit]);
        let also = Columns::Also(more).over(default());
        assert_eq!(also, [Column::Pid, Column::Fd, Column::Unit]);
    }
}
