//! `sockleak run`: a command, its descendants, and the sockets that they leak.
//!
//! ```text
//! command (starts it) ──> kernel ──> probe::Follower ──> ends (who closed what, and how) ──> leak
//!                                                                                             │
//!                                      exit code, view <── report <── gate, baseline <────────┘
//! ```
//!
//! All but `command` and `signals` is pure and tested without privilege.

pub mod baseline;
pub mod command;
pub mod doubt;
pub mod ends;
pub mod gate;
pub mod leak;
pub mod report;
pub mod signals;
