//! Knowledge of this moment: the table of sockets, when to scan, and how events and scans meet.
//!
//! Pure but for the [`source`] that a monitor reads: the probe, or a fake in tests. It uses `sock`
//! and `host`; `report` and `command` use it.

pub mod health;
pub mod holders;
pub mod monitor;
mod notes;
pub mod schedule;
pub mod source;
pub mod table;
mod tracked;

pub use self::notes::RELAY_NS;
