//! What a socket is: its connection, its state, the records that tell of it, its age, and what is
//! wrong with it.
//!
//! Pure: values in, values out. Everything else may use it; it uses the records' types of `bpf`
//! alone.

pub mod age;
pub mod conn;
pub(crate) mod digits;
pub mod event;
pub mod explain;
pub mod leak;
pub mod name;
pub mod state;
pub mod sums;
