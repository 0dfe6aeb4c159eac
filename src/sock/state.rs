//! The states of a TCP socket, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A state, with the number and the name that the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are TCP's own")]
pub enum State {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl State {
    /// Every state, in the order of the kernel's numbers.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// The state with this number, if the kernel has one.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&state| state as u8 == number)
    }

    /// The name in output: `CLOSE_WAIT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        }
    }

    /// The name on the command line, as `ss` spells it: `close-wait`, `fin-wait-1`.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynRecv => "syn-recv",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::NewSynRecv => "new-syn-recv",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A set of states: a bit for each state's number, as the BPF programs read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSet(u32);

impl StateSet {
    /// No state.
    pub const NONE: Self = Self(0);
    /// Every state.
    pub const ALL: Self = Self(0b1_1111_1111_1110);
    /// CLOSE_WAIT alone: the state that is always followed.
    pub const CLOSE_WAIT: Self = Self(1 << State::CloseWait as u8);

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Returns true if the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if the set has this state.
    pub fn contains(self, state: State) -> bool {
        self.0 & 1 << state as u8 != 0
    }

    /// The states that are in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<State> for StateSet {
    fn from(state: State) -> Self {
        Self(1 << state as u8)
    }
}

impl FromIterator<Self> for StateSet {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        sets.into_iter().fold(Self(0), Self::union)
    }
}

impl FromStr for StateSet {
    type Err = String;

    /// One state's name (either spelling, either case), or `all`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::ALL);
        }
        State::ALL
            .into_iter()
            .find(|s| s.flag().eq_ignore_ascii_case(text) || s.name().eq_ignore_ascii_case(text))
            .map(Self::from)
            .ok_or_else(|| {
                let names: Vec<_> = State::ALL.iter().map(|state| state.flag()).collect();
                format!("no such TCP state; there are {}, and all", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(State::from_kernel(1), Some(State::Established));
        assert_eq!(State::from_kernel(8), Some(State::CloseWait));
        assert_eq!(State::from_kernel(12), Some(State::NewSynRecv));
        assert_eq!(State::from_kernel(0), None);
        assert_eq!(State::from_kernel(13), None);
    }

    #[test]
    fn every_state_parses_back() {
        for state in State::ALL {
            assert_eq!(state.flag().parse(), Ok(StateSet::from(state)));
            assert_eq!(state.name().parse(), Ok(StateSet::from(state)));
            assert!(StateSet::ALL.contains(state));
        }
        assert_eq!("ALL".parse(), Ok(StateSet::ALL));
    }

    #[test]
    fn an_unknown_state_is_told_what_there_is() {
        let error = "closed".parse::<StateSet>().unwrap_err();
        assert!(error.contains("close-wait") && error.contains("all"), "{error}");
    }
}
