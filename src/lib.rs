//! Finds leaked TCP sockets on a running Linux host and says who holds them.
//!
//! A connection is leaked when its peer is gone and the local program still keeps it: the kernel
//! leaves it in CLOSE_WAIT until somebody calls `close()`.
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
//! Most sockets leave a watched state within a moment. In the kernel, `watch` holds back what enters
//! until it reports: only what has stayed until then comes through.
//!
//! One thread: follow the ring, apply, and on each tick scan if there is a reason, build a report,
//! render it. (While a scan lasts, others read the iterators for it; and others help to write a long
//! table.) Only [`probe`] touches libbpf; [`event`], [`table`], [`report`] and [`view`] are pure
//! and are tested without privilege.

mod bpf;
pub mod cli;
pub mod command;
pub mod doctor;
pub mod exit;
pub mod host;
pub mod live;
pub mod probe;
pub mod report;
pub mod sock;
pub mod view;
