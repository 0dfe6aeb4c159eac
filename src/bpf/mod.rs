//! The BPF side: the generated skeleton and, in it, the Rust twins of the records in
//! `sockleak.h`.

// What the generator writes answers to its own rules.
#![allow(clippy::all, missing_docs, unreachable_pub, unsafe_code, warnings)]

include!(concat!(env!("OUT_DIR"), "/sockleak.skel.rs"));
