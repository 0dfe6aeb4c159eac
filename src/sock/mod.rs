//! Properties of a socket: its connection, its state, its age, its verdict, and the records that
//! describe it.
//!
//! Pure: values in, values out. Everything else may use it; it uses the records' types of `bpf`
//! alone.

pub mod age;
pub mod conn;
pub mod dead;
pub mod decode;
pub(crate) mod digits;
pub mod event;
pub mod explain;
pub mod leak;
pub mod name;
pub mod state;
pub mod sums;
