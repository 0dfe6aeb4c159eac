//! The exporter: a page that always has the last report, and the thread that serves it.
//!
//! A request never scans, and never waits for a scan: it gets the bytes of the last report. The
//! thread that serves has no capability, and a bound on whatever a client can make it keep.

pub mod changes;
pub mod listen;
pub mod page;
pub mod server;
