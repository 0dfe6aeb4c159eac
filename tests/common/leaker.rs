//! The planted workload: `examples/leaker` in a network namespace of its own.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use nix::sched::{CloneFlags, setns};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lines::Running;
use super::{DEADLINE, deadline_for, not_possible};

/// A condition to leave a connection in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    EofRead,
    EofUnread,
    DataUnread(usize),
    LeftByServer,
    NeverAccepted,
    HalfClosed,
    Established,
}

/// One planted connection, seen from the side that leaks it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Conn {
    pub(crate) fd: Option<i32>,
    pub(crate) peer: Option<i32>,
    pub(crate) local: String,
    pub(crate) remote: String,
}

impl Conn {
    pub(crate) fn fd(&self) -> i32 {
        self.fd.unwrap()
    }

    pub(crate) fn peer(&self) -> i32 {
        self.peer.unwrap()
    }

    /// The same connection, seen from the other end.
    pub(crate) fn other_end(&self) -> Self {
        Self {
            fd: self.peer,
            peer: self.fd,
            local: self.remote.clone(),
            remote: self.local.clone(),
        }
    }
}

/// A listening socket of the workload.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listener {
    pub(crate) fd: i32,
    pub(crate) local: String,
}

impl Listener {
    pub(crate) fn port(&self) -> &str {
        self.local.rsplit_once(':').unwrap().1
    }
}

#[derive(Deserialize)]
struct Started {
    pid: u32,
    netns: u64,
}

/// A workload process. It ends with the test.
pub(crate) struct Leaker {
    process: Running,
    pub(crate) pid: u32,
    pub(crate) netns: u64,
}

impl Leaker {
    /// A workload in a new network namespace.
    pub(crate) fn start() -> Self {
        Self::start_named(b"leaker")
    }

    /// The same with any name.
    pub(crate) fn start_named(name: &[u8]) -> Self {
        super::need_root();
        let mut command = Command::new(binary());
        command.args(["script", "--netns", "--comm", &hex(name)]);
        Self::run(&mut command)
    }

    /// A workload that has a listener already, at an IPv4 address.
    pub(crate) fn listening() -> Self {
        let mut leaker = Self::start();
        leaker.listen("v4");
        leaker
    }

    /// One in a network namespace whose connections are in a hash table of its own, if this kernel
    /// can do that: since 6.1.
    pub(crate) fn start_apart(&self, test: &str) -> Option<Self> {
        match self.sysctl("ipv4/tcp_child_ehash_entries", "512") {
            Ok(()) => Some(self.inside(Self::start)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                not_possible(test, format!("one hash table serves all: {error}"));
                None
            }
            Err(error) => panic!("tcp_child_ehash_entries: {error}"),
        }
    }

    /// Another process in the same network namespace.
    pub(crate) fn start_beside(&self) -> Self {
        self.start_beside_named(b"leaker")
    }

    pub(crate) fn start_beside_named(&self, name: &[u8]) -> Self {
        let comm = hex(name);
        self.inside(|| Self::run(Command::new(binary()).args(["script", "--comm", &comm])))
    }

    /// A workload in a new network namespace, started by another program: the last of its arguments
    /// are the workload and its own.
    pub(crate) fn start_by(starter: &mut Command) -> Self {
        Self::start_copy_by(&binary(), starter)
    }

    /// The same, from a copy of the workload's program: for users who may not reach the original.
    pub(crate) fn start_copy_by(copy: &Path, starter: &mut Command) -> Self {
        super::need_root();
        Self::run(starter.arg(copy).args(["script", "--netns"]))
    }

    fn run(command: &mut Command) -> Self {
        let mut process = Running::start(command.stdin(Stdio::piped()));
        let Started { pid, netns } = answer(&mut process, "start", 0);
        Self { process, pid, netns }
    }

    /// Runs a closure in a thread that is in the workload's network namespace, as are the processes that
    /// it starts.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// Sets a sysctl of the workload's network namespace.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> std::io::Result<()> {
        self.inside(|| fs::write(format!("/proc/sys/net/{name}"), value))
    }

    /// Has `count` clients connect to a listener from another process, and leave.
    pub(crate) fn visit(&self, listener: &Listener, count: usize) {
        self.inside(|| {
            let mut command = Command::new(binary());
            command.args(["visit", &listener.local, &count.to_string()]).stdin(Stdio::null());
            let mut visitors = Running::start(&mut command);
            let status = visitors.end(deadline_for(count));
            assert!(status.success(), "{status}: {}", visitors.stderr());
        });
    }

    /// The demo's server, in the workload's network namespace; its first line is its port.
    pub(crate) fn serve(&self) -> Running {
        self.inside(|| {
            let mut command = Command::new(binary());
            Running::start(command.args(["serve", "127.0.0.1:0"]).stdin(Stdio::null()))
        })
    }

    /// One order, and its answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, order: &str) -> T {
        self.ask_for(order, 0)
    }

    fn ask_for<T: DeserializeOwned>(&mut self, order: &str, count: usize) -> T {
        writeln!(self.process.stdin(), "{order}").unwrap();
        answer(&mut self.process, order, count)
    }

    pub(super) fn tell(&mut self, order: &str) {
        self.ask::<Value>(order);
    }

    pub(crate) fn listen(&mut self, how: &str) -> Listener {
        self.ask(&format!("listen {how}"))
    }

    pub(crate) fn plant(&mut self, kind: Kind, count: usize) -> Vec<Conn> {
        let order = match kind {
            Kind::EofRead => format!("plant eof-read {count}"),
            Kind::EofUnread => format!("plant eof-unread {count}"),
            Kind::DataUnread(bytes) => format!("plant data-unread {count} {bytes}"),
            Kind::LeftByServer => format!("plant left-by-server {count}"),
            Kind::NeverAccepted => format!("plant never-accepted {count}"),
            Kind::HalfClosed => format!("plant half-closed {count}"),
            Kind::Established => format!("plant established {count}"),
        };
        self.ask_for(&order, count)
    }

    /// One leak of the classic kind.
    pub(crate) fn leak(&mut self) -> Conn {
        self.plant_one(Kind::EofRead)
    }

    pub(crate) fn plant_one(&mut self, kind: Kind) -> Conn {
        self.plant(kind, 1).remove(0)
    }

    pub(crate) fn accept(&mut self, count: usize) -> Vec<Conn> {
        self.ask_for(&format!("accept {count}"), count)
    }

    pub(crate) fn dial(&mut self) -> Conn {
        self.ask("dial")
    }

    /// A socket that is not connected to anything.
    pub(crate) fn unconnected(&mut self) -> i32 {
        self.ask("unconnected")
    }

    pub(crate) fn drain(&mut self, fd: i32) {
        self.tell(&format!("drain {fd}"));
    }

    pub(crate) fn dup(&mut self, fd: i32) -> i32 {
        self.ask(&format!("dup {fd}"))
    }

    /// A child that inherits every descriptor; its PID.
    pub(crate) fn fork(&mut self) -> u32 {
        self.ask(&format!("fork {}", hex(b"child")))
    }

    pub(crate) fn threads(&mut self, count: usize) {
        self.tell(&format!("threads {count}"));
    }

    pub(crate) fn entrust(&mut self, fd: i32) {
        self.tell(&format!("entrust {fd}"));
    }

    pub(crate) fn send_away(&mut self, fd: i32) {
        self.tell(&format!("send-away {fd}"));
    }

    pub(crate) fn shutdown(&mut self, fd: i32) {
        self.tell(&format!("shutdown {fd}"));
    }

    pub(crate) fn close(&mut self, fd: i32) {
        self.tell(&format!("close {fd}"));
    }

    pub(crate) fn close_all(&mut self) {
        self.tell("close-all");
    }

    pub(crate) fn abort(&mut self, fd: i32) {
        self.tell(&format!("abort {fd}"));
    }

    pub(crate) fn keepalive(&mut self, fd: i32) {
        self.tell(&format!("keepalive {fd}"));
    }

    pub(crate) fn cookie(&mut self, fd: i32) -> u64 {
        self.ask(&format!("cookie {fd}"))
    }

    pub(crate) fn loopback(&mut self, direction: &str) {
        self.tell(&format!("loopback {direction}"));
    }

    pub(crate) fn limit(&mut self, descriptors: usize) {
        self.tell(&format!("limit {descriptors}"));
    }

    /// Sets the limit so that not one more descriptor can be had; the limit.
    pub(crate) fn use_up_descriptors(&mut self) -> usize {
        let open: BTreeSet<usize> = self.open_descriptors();
        let lowest_free = (0..).find(|fd| !open.contains(fd)).unwrap();
        self.limit(lowest_free);
        lowest_free
    }

    pub(crate) fn open_descriptors(&self) -> BTreeSet<usize> {
        let listing = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        listing.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// Opens and closes connections until one of the limits is reached; how many it was.
    pub(crate) fn churn(&mut self, count: usize, milliseconds: u64) -> usize {
        self.ask(&format!("churn {count} {milliseconds}"))
    }

    /// Why an order cannot be carried out here, if it cannot.
    pub(crate) fn refusal(&mut self, order: &str) -> Option<String> {
        self.try_ask::<Value>(order).err()
    }

    pub(super) fn try_ask<T: DeserializeOwned>(&mut self, order: &str) -> Result<T, String> {
        writeln!(self.process.stdin(), "{order}").unwrap();
        let line = self.process.line(DEADLINE).expect("an answer");
        let mut answer: Value = serde_json::from_slice(&line).unwrap();
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(serde_json::from_value(answer["ok"].take()).unwrap()),
        }
    }

    /// Executes another program image under another name.
    pub(crate) fn exec(&mut self, name: &[u8]) {
        let Started { pid, .. } = self.ask(&format!("exec {}", hex(name)));
        assert_eq!(pid, self.pid);
    }

    /// Exits, and takes what it holds along.
    pub(crate) fn exit(&mut self) {
        writeln!(self.process.stdin(), "exit").unwrap();
        assert!(self.process.end(DEADLINE).success());
    }

    pub(crate) fn uid(&self) -> u32 {
        fs::metadata(format!("/proc/{}", self.pid)).unwrap().uid()
    }
}

fn answer<T: DeserializeOwned>(process: &mut Running, order: &str, count: usize) -> T {
    let line = process.line(deadline_for(count));
    let line = line.unwrap_or_else(|| panic!("the workload died: {}", process.stderr()));
    let mut answer: Value = serde_json::from_slice(&line).unwrap();
    match answer.get_mut("ok") {
        Some(value) => serde_json::from_value(value.take()).unwrap(),
        None => panic!("{order}: {}", answer["error"]),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn binary() -> PathBuf {
    if let Some(path) = env::var_os("LEAKER_BIN") {
        return path.into();
    }
    // Tests are at target/<profile>/deps/NAME.
    let test = env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/leaker");
    assert!(path.exists(), "{} is not there: run `cargo build --example leaker`", path.display());
    path
}
