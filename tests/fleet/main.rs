//! Metrics, the exporter and the check, beside the programs that they are made for: Prometheus,
//! node_exporter, promtool, systemd's tools. They are Debian's; `make test` installs them. The tests need
//! root, and fail without it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod alerts;
mod check;
mod clients;
mod deploy;
mod exporter;
mod image;
mod labels;
mod metrics;
mod systemd;
mod textfile;
mod web;
