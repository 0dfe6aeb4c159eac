//! Why a run's answer may be incomplete: a closed set of reasons.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Why leaks may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Records found no room, or the kernel did not show events to our programs.
    EventsLost(u64),
    /// Records from the kernel could not be read.
    RecordsUnreadable(u64),
    /// There was no room for processes.
    ProcessesUnfollowed(u64),
    /// There was no room for dead sockets.
    SocketsUnnoted(u64),
    /// More leaks came than are kept.
    LeaksDropped(u64),
    /// The kernel does not tell when a socket that was reset is closed.
    ResetsUnseen,
    /// The kernel's records could not be read to the end.
    FollowingFailed,
    /// Processes take long to exit.
    ExitsUnfinished,
}

impl Doubt {
    /// The word for it, in JSON.
    pub fn reason(self) -> &'static str {
        match self {
            Self::EventsLost(_) => "events-lost",
            Self::RecordsUnreadable(_) => "records-unreadable",
            Self::ProcessesUnfollowed(_) => "processes-unfollowed",
            Self::SocketsUnnoted(_) => "sockets-unnoted",
            Self::LeaksDropped(_) => "leaks-dropped",
            Self::ResetsUnseen => "resets-unseen",
            Self::FollowingFailed => "following-failed",
            Self::ExitsUnfinished => "exits-unfinished",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventsLost(events) => write!(
                f,
                "{events} events were lost, and leaks with them (a larger --ring-size loses fewer)"
            ),
            Self::RecordsUnreadable(records) => write!(
                f,
                "{records} records from the kernel could not be read: please report it, with the \
                 output of `sockleak doctor`"
            ),
            Self::ProcessesUnfollowed(processes) => write!(
                f,
                "{processes} processes were not followed: there was no room (a larger --table-size \
                 has more)"
            ),
            Self::SocketsUnnoted(sockets) => write!(
                f,
                "{sockets} dead sockets of the whole host were not noted: there was no room (a larger \
                 --table-size has more; `sockleak list` shows whose they are)"
            ),
            Self::LeaksDropped(leaks) => {
                write!(f, "{leaks} more leaks came than are listed: mend some of the others first")
            }
            Self::FollowingFailed => f.write_str(
                "the command could not be followed to its end: please report it, with the output of \
                 `sockleak doctor`",
            ),
            Self::ExitsUnfinished => f.write_str(
                "processes of the command were still exiting, and had not closed all that they had: \
                 have the command wait for them",
            ),
            Self::ResetsUnseen => f.write_str(
                "sockets that were reset, and closed later, are not seen: this kernel lacks the \
                 tracepoint tcp_destroy_sock",
            ),
        }
    }
}

impl Serialize for Doubt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Doubt", 2)?;
        object.serialize_field("reason", self.reason())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}
