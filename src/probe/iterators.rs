//! The iterators, attached; and how each is read.

use std::io::{self, Read};
use std::os::fd::AsFd;

use libbpf_rs::skel::Skel;
use libbpf_rs::{Iter, Link, MapHandle, ProgramMut};

use super::ProbeError;
use super::error::{failed, refused};
use super::threads::Pieces;
use super::variants::{Group, Program};
use crate::bpf::SockleakSkel;

/// Links to the iterators. `None`: no program of that group is loaded, here or for this call.
pub(super) struct Links {
    pub(super) files: Option<Link>,
    pub(super) kept: Option<Link>,
    pub(super) queues: Option<Link>,
    pub(super) queued: Option<Link>,
    pub(super) hash: Option<Link>,
    pub(super) namespaces: Option<Link>,
    /// Which table the walk is to go through.
    pub(super) walked: MapHandle,
}

impl Links {
    pub(super) fn attach(
        skeleton: &SockleakSkel<'_>,
        loaded: &[Program],
    ) -> Result<Self, ProbeError> {
        let maps = &skeleton.maps;
        type Attached = libbpf_rs::Result<Link>;
        let attach = |group, attach: &dyn Fn(&ProgramMut<'_>) -> Attached| {
            let loaded = loaded.iter().find(|program| program.group == group);
            let program = loaded.and_then(|loaded| {
                skeleton.object().progs_mut().find(|program| program.name() == loaded.name)
            });
            let link = program.map(|program| attach(&program)).transpose();
            link.map_err(refused("attach an iterator"))
        };
        Ok(Self {
            files: attach(Group::Files, &|program| program.attach())?,
            kept: attach(Group::Kept, &|program| program.attach_iter(maps.kept.as_fd()))?,
            queues: attach(Group::Queues, &|program| program.attach_iter(maps.listeners.as_fd()))?,
            queued: attach(Group::Queued, &|program| program.attach_iter(maps.queued.as_fd()))?,
            hash: attach(Group::Hash, &|program| program.attach_iter(maps.strides.as_fd()))?,
            namespaces: attach(Group::Namespaces, &|program| {
                program.attach_iter(maps.strides.as_fd())
            })?,
            walked: MapHandle::try_from(&maps.walked).map_err(refused("open a map"))?,
        })
    }

    /// Reads which process holds which socket.
    pub(super) fn read_files(&self, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let Some(kept) = &self.kept else {
            return read_all(files, pieces);
        };
        let mut iter = open(files)?;
        loop {
            // It writes nothing. Where it has no more room to keep records it stops, and goes on from
            // there in the next read.
            let read = iter.read(&mut [0; 8]);
            read_all(kept, pieces)?;
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(|_| ()).map_err(failed("read an iterator")),
            }
        }
    }

    /// Reads what waits in the queues that [`Links::read_files`] has noted.
    pub(super) fn read_queues(&self, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
        for link in [&self.queues, &self.queued].into_iter().flatten() {
            read_all(link, pieces)?;
        }
        Ok(())
    }
}

pub(super) fn open(link: &Link) -> Result<Iter, ProbeError> {
    Iter::new(link).map_err(refused("open an iterator"))
}

/// Reads an iterator to its end.
fn read_all(link: &Link, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    let mut iter = open(link)?;
    pieces.fill(|buffer| read_some(&mut iter, buffer))
}

/// Reads the walk through a hash table. Where the table ends, the program stops the read.
pub(super) fn read_walk(link: &Link, pieces: &Pieces<'_>) -> Result<(), ProbeError> {
    let mut iter = open(link)?;
    pieces.fill(|buffer| read_to_break(&mut iter, buffer))
}

/// Reads on, up to where the program stops the read.
pub(super) fn read_to_break(iter: &mut Iter, buffer: &mut [u8]) -> Result<usize, ProbeError> {
    match read_uninterrupted(iter, buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read.map_err(failed("read an iterator")),
    }
}

/// Reads what an iterator writes next, and says how many bytes it is; 0 at its end.
pub(super) fn read_some(iter: &mut Iter, buffer: &mut [u8]) -> Result<usize, ProbeError> {
    loop {
        match read_uninterrupted(iter, buffer) {
            // After a million objects without a record the kernel takes a break.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map_err(failed("read an iterator")),
        }
    }
}

fn read_uninterrupted(iter: &mut Iter, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match iter.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
