//! Orders to the workload that make something happen on its connections.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::leaker::{Conn, Leaker};
use super::not_possible;

/// Where an io_uring keeps a socket.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Slot {
    pub(crate) ring_fd: i32,
    pub(crate) ring_slot: u32,
}

impl Leaker {
    /// Connects to any listener.
    pub(crate) fn connect(&mut self, address: &str) -> Conn {
        self.ask(&format!("connect {address}"))
    }

    /// A socket that is bound to a port, and no more.
    pub(crate) fn bound(&mut self) -> i32 {
        self.ask("bound")
    }

    /// A socket whose connect() was refused.
    pub(crate) fn refused(&mut self) -> i32 {
        self.ask("refused")
    }

    /// Dissolves a connection with connect(AF_UNSPEC).
    pub(crate) fn disconnect(&mut self, fd: i32) {
        self.tell(&format!("disconnect {fd}"));
    }

    pub(crate) fn receive_buffer(&mut self, fd: i32, bytes: usize) {
        self.tell(&format!("buffer {fd} receive {bytes}"));
    }

    pub(crate) fn send_buffer(&mut self, fd: i32, bytes: usize) {
        self.tell(&format!("buffer {fd} send {bytes}"));
    }

    pub(crate) fn send(&mut self, fd: i32, bytes: usize) {
        self.tell(&format!("send {fd} {bytes}"));
    }

    /// Sends again and again, in the background.
    pub(crate) fn send_on(&mut self, fd: i32, bytes: usize, pause: Duration) {
        self.tell(&format!("send {fd} {bytes} {}", pause.as_millis()));
    }

    pub(crate) fn read(&mut self, fd: i32, bytes: usize) {
        self.tell(&format!("read {fd} {bytes}"));
    }

    /// Reads again and again, in the background.
    pub(crate) fn read_on(&mut self, fd: i32, bytes: usize, pause: Duration) {
        self.tell(&format!("read {fd} {bytes} {}", pause.as_millis()));
    }

    /// Passes the end of file of `from` on to `to`, in the background.
    pub(crate) fn relay(&mut self, from: i32, to: i32) {
        self.tell(&format!("relay {from} {to}"));
    }

    pub(crate) fn await_data(&mut self, fd: i32) {
        self.tell(&format!("await {fd} data"));
    }

    pub(crate) fn await_eof(&mut self, fd: i32) {
        self.tell(&format!("await {fd} eof"));
    }

    /// Waits until a connection is over in both directions.
    pub(crate) fn await_end(&mut self, fd: i32) {
        self.tell(&format!("await {fd} end"));
    }

    pub(crate) fn fetch_error(&mut self, fd: i32) -> String {
        self.ask(&format!("fetch-error {fd}"))
    }

    pub(crate) fn shutdown_both(&mut self, fd: i32) {
        self.tell(&format!("shutdown {fd} both"));
    }

    /// Leaves a socket to an io_uring, without a descriptor. None, and word of it, where the kernel or its
    /// administrator does not permit io_uring.
    pub(crate) fn install(&mut self, fd: i32, test: &str) -> Option<Slot> {
        match self.try_ask(&format!("install {fd}")) {
            Ok(slot) => Some(slot),
            Err(error) if error.contains("io_uring_setup") && not_permitted(&error) => {
                not_possible(test, error);
                None
            }
            Err(error) => panic!("install {fd}: {error}"),
        }
    }

    /// Clients come and leave in the background; the server closes so long after each has left.
    pub(crate) fn visits(&mut self, per_second: u32, lateness: Duration) {
        self.tell(&format!("visits {per_second} {}", lateness.as_millis()));
    }

    /// Starts healthy traffic of every kind.
    pub(crate) fn healthy(&mut self) {
        self.tell("healthy");
    }

    /// How many rounds of healthy traffic are over, by kind.
    pub(crate) fn progress(&mut self) -> BTreeMap<String, u64> {
        self.ask("progress")
    }
}

/// ENOSYS, EPERM or EACCES, as an order's answer has them.
fn not_permitted(error: &str) -> bool {
    ["(os error 38)", "(os error 1)", "(os error 13)"].iter().any(|code| error.contains(code))
}
