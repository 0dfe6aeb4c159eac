//! The tool on the real kernel: planted leaks, and exactly the rows that they must give.
//!
//! Each test has a network namespace of its own, and the tool looks at that one only. So the tests run
//! side by side, in any order. They need root, and fail without it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod ages;
mod backlog;
mod btf;
mod bugs;
mod capabilities;
mod demo;
mod destroy;
mod doctor;
mod ending;
mod events;
mod filters;
mod given_up;
mod groups;
mod holders;
mod lifetimes;
mod names;
mod orphans;
mod passing;
mod pidns;
mod privilege;
mod refusals;
mod resets;
mod scans;
mod states;
mod streams;
mod text;
mod timens;
mod verdicts;
