//! Finds leaked TCP sockets on a running Linux host and says who holds them.
//!
//! A socket is leaked when its connection is over and something still keeps it: a descriptor that
//! nobody closed, or a place in an accept queue that nobody empties. [`sock::leak`] decides.
//!
//! Two rules decide everything here. *Events give timing; the scan gives truth*: the tracepoint
//! says when a socket entered a state, and never who owns it. *Never guess*: what is unknown
//! prints as unknown, and a wrong PID is worse than none.
//!
//! ```text
//! kernel                                  user space
//! tp_btf/inet_sock_set_state ─┐
//!   edges of watched states   ├─ ring ──┐
//! iter/task (or task_file) ───┤         ├─> probe ──> event ──> table ──> report ──> view
//!   sockets, accept queues    ├─ read ──┘  (libbpf)  (decode)  (live)              text, json
//! iter/bpf_map_elem ──────────┘                 └──── monitor ────┘
//!   all connections, by hash                    (when to scan: schedule)
//! ```
//!
//! # Rooms
//!
//! Each module is a room. A room uses only rooms below it.
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`command`], [`exit`] | a subcommand each: options and wiring; how a run ends |
//! | [`cli`] | options that subcommands share, and parsers of their values |
//! | [`export`] | the HTTP server of `sockleak export`, and what it logs |
//! | [`view`] | text, CSV, JSON, metrics, events: a file for each format; it takes a finished value and writes bytes |
//! | [`follow`] | `run`: a command and its descendants, how their sockets ended, and whether that fails it |
//! | [`doctor`] | what this host allows: facts, checks, self-test |
//! | [`report`] | the one input of every view: rows, filters, groups, trends |
//! | [`probe`] | the only room that names libbpf: load, attach, ring, scan (`probe/scan.rs` explains it) |
//! | [`live`] | what is known now: the table, when to scan, how events and scans meet |
//! | [`host`] | facts about the machine, this process and others: [`host::identity`] says who they are |
//! | [`sock`] | what a socket is: address, state, age, verdict; decoding of records |
//! | `bpf` | programs that run in the kernel; `sockleak.h` has the records |
//!
//! `report` and `probe` do not know each other: a [`live::monitor::Monitor`] reads any
//! [`live::source::Source`], of which the probe is one and the tests' fake another. All rooms but
//! `probe`, `host`, `doctor` and `command` are pure and tested without privilege.
//! `docs/house.md` names the files for eleven common questions.
//!
//! # Threads
//!
//! One thread follows the ring, applies what comes, and on each tick scans if there is a reason,
//! builds a report and renders it. Helpers read iterators during a scan and format long tables.
//! `export` has one more thread, without any capability: it serves the bytes of the last report.

mod bpf;
pub mod cli;
pub mod command;
pub mod doctor;
pub mod exit;
pub mod export;
pub mod follow;
pub mod host;
pub mod live;
pub mod probe;
pub mod report;
pub mod sock;
pub mod view;
