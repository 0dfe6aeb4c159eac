//! The tool on the real kernel: planted leaks, and exactly the rows that they must give.
//!
//! Each test has a network namespace of its own, and the tool looks at that one only. So the tests run
//! side by side, in any order. They need root, and fail without it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod ages;
mod asked;
mod backlog;
mod btf;
mod bugs;
mod capabilities;
mod container;
mod dead;
mod demo;
mod destroy;
mod doctor;
mod draining;
mod ending;
mod events;
mod exits;
mod explain;
mod farewells;
mod filters;
mod given_up;
mod groups;
mod half_closed;
mod half_shut;
mod history;
mod holders;
mod identity;
mod known;
mod lifetimes;
mod listed;
mod names;
mod namespaces;
mod orphans;
mod output;
mod passing;
mod peers;
mod pidns;
mod precision;
mod privilege;
mod queues;
mod refusals;
mod resets;
mod rings;
mod run_apart;
mod run_child;
mod run_codes;
mod run_ends;
mod run_files;
mod run_python;
mod run_recipes;
mod run_terminal;
mod scans;
mod seccomp;
mod settle;
mod signals;
mod stalled;
mod starved;
mod states;
mod streams;
mod terminal;
mod text;
mod timens;
mod unconnected;
mod verdicts;
