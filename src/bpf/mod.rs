//! The BPF side: the generated skeletons and, in them, the Rust twins of the records in
//! `sockleak.h` and `follow.h`.

// What the generator writes answers to its own rules.
#![allow(clippy::all, missing_docs, unreachable_pub, unsafe_code, warnings)]

include!(concat!(env!("OUT_DIR"), "/sockleak.skel.rs"));

pub mod follow {
    //! The programs of `sockleak run`.

    include!(concat!(env!("OUT_DIR"), "/follow.skel.rs"));
}
