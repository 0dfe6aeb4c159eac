//! How long a socket was in the state that it leaves.

use std::collections::HashMap;

use crate::sock::conn::SockPtr;
use crate::sock::event::Transition;
use crate::sock::state::State;

/// When each socket entered its state.
#[derive(Clone, Debug, Default)]
pub struct Residence {
    entered: HashMap<SockPtr, (State, u64)>,
}

impl Residence {
    /// Takes a transition, and says how many ns the socket was in its old state, if its entry
    /// into that was seen.
    pub fn leave(&mut self, transition: &Transition) -> Option<u64> {
        let entered = match transition.new {
            // The end: the address may be reused.
            State::Close => self.entered.remove(&transition.sock),
            new => self.entered.insert(transition.sock, (new, transition.ktime)),
        };
        let (state, since) = entered?;
        (state == transition.old).then(|| transition.ktime.saturating_sub(since))
    }

    /// Transitions were lost: an entry may now be that of an earlier socket.
    pub fn forget(&mut self) {
        self.entered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sock::conn::{Conn, Endpoint};
    use crate::sock::event::{Progress, SockFlags};

    fn transition(old: State, new: State, ktime: u64) -> Transition {
        let end = Endpoint::new([0; 16], 0);
        Transition {
            ktime,
            sock: SockPtr(1),
            conn: Conn { local: end, remote: end, netns: 1 },
            cookie: None,
            old,
            new,
            flags: SockFlags::empty(),
            progress: Progress::default(),
            err: 0,
            actor: None,
        }
    }

    #[test]
    fn only_an_entry_that_was_seen_counts() {
        let mut residence = Residence::default();
        let mut leave = |old, new, ktime| residence.leave(&transition(old, new, ktime));
        assert_eq!(leave(State::Established, State::CloseWait, 10), None);
        assert_eq!(leave(State::CloseWait, State::LastAck, 25), Some(15));
        assert_eq!(leave(State::LastAck, State::Close, 26), Some(1));
        assert_eq!(leave(State::LastAck, State::Close, 30), None);
        assert_eq!(leave(State::SynSent, State::Established, 40), None);
        assert_eq!(leave(State::CloseWait, State::Close, 50), None, "an event in between is lost");
    }

    #[test]
    fn after_a_loss_nothing_is_known() {
        let mut residence = Residence::default();
        residence.leave(&transition(State::Established, State::CloseWait, 10));
        residence.forget();
        assert_eq!(residence.leave(&transition(State::CloseWait, State::LastAck, 20)), None);
    }
}
