//! The server of the blog post: it keeps every connection that its clients have left.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use crate::uninterrupted;

/// Serves until it is killed. SIGHUP closes what has been accepted so far.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    listener.set_nonblocking(true)?;
    let mut hangup = SigSet::empty();
    hangup.add(Signal::SIGHUP);
    hangup.thread_block()?;
    let hangups = SignalFd::new(&hangup)?;
    println!("{}", listener.local_addr()?.port());

    let mut connected: Vec<TcpStream> = Vec::new();
    let mut leaked: Vec<TcpStream> = Vec::new();
    let mut out_of_descriptors = false;
    loop {
        let mut waiting = vec![PollFd::new(hangups.as_fd(), PollFlags::POLLIN)];
        waiting.extend(connected.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)));
        if !out_of_descriptors {
            waiting.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        uninterrupted(|| Ok(poll(&mut waiting, PollTimeout::NONE)?))?;
        let hung_up = waiting[0].any() == Some(true);
        drop(waiting);

        if hung_up {
            hangups.read_signal()?;
            println!("closed {}", connected.len() + leaked.len());
            connected.clear();
            leaked.clear();
            out_of_descriptors = false;
        }
        let (ended, open) = connected.into_iter().partition(has_ended);
        connected = open;
        leaked.extend::<Vec<_>>(ended);
        match listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(true)?;
                connected.push(client);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                // Clients wait in the queue from here on. A server that asked again at once would spin.
                eprintln!("accept: {error}");
                out_of_descriptors = true;
            }
        }
    }
}

/// Reads what is there. At the end of file a good server would close; this one forgets.
fn has_ended(mut client: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}
