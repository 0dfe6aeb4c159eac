//! Facts about this machine and this process: clocks, namespaces, privileges, signals.
//!
//! Each file asks the system for one kind of fact. It uses nothing of sockleak, except for how names
//! print (`sock::name`); all others may use it.

pub mod clock;
pub mod identity;
pub mod journal;
pub mod kernel;
pub mod limits;
pub mod netns;
pub mod notify;
pub mod pidns;
pub mod privilege;
pub mod process;
pub mod seccomp;
pub mod sockets;
pub mod stop;
pub mod terminal;
pub mod user;
