//! A line for each process and each listener.

use std::fmt::{self, Display};

use super::units::Span;
use crate::report::{Descriptors, ListenerRow, ProcessRow, Shown};
use crate::sock::name::sanitised;

/// A process: what it holds, and what its descriptors refer to.
pub(super) struct ProcessLine<'a>(pub(super) &'a ProcessRow<'a>, pub(super) Shown);

impl Display for ProcessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.0;
        let comm = process.comm.map_or("?".into(), sanitised);
        write!(f, "{comm}[{}]", process.pid)?;
        if let Some(place) = process.identity.place() {
            write!(f, " in {}", sanitised(&place))?;
        }
        f.write_str(": ")?;
        let mut counts = Vec::new();
        match self.1 {
            Shown::Leaked => counts.push((process.leaked, "leaked")),
            Shown::Stranded => {
                counts.extend([(process.leaked, "leaked"), (process.stranded, "stranded")]);
            }
            Shown::States(_) => counts.push((process.rows, "listed")),
        }
        let bound = if process.at_least { ">=" } else { "" };
        for (count, word) in counts.into_iter().filter(|&(count, _)| count > 0) {
            write!(f, "{bound}{count} {word}, ")?;
        }
        match (process.open_fds, process.fd_limit) {
            (Some(open), Some(limit)) => write!(f, "{open} of {limit} descriptors open")?,
            _ => f.write_str("its descriptors are not known")?,
        }
        if let Some(descriptors) = &process.descriptors {
            write!(f, ": {}", Census(descriptors))?;
        }
        if process.stopped {
            f.write_str("; stopped by a signal")?;
        }
        if let (Some(rate), Some(left)) = (process.leaked_per_minute, process.exhausted_in_seconds)
        {
            let left = Span::of_seconds(left);
            write!(f, "; +{rate:.1}/min, out of descriptors in {left}")?;
        }
        Ok(())
    }
}

/// A census of descriptors: all counts that are not zero.
pub(super) struct Census<'a>(pub(super) &'a Descriptors);

impl Display for Census<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0;
        let stranded = of.stranded_as.iter().map(|(verdict, count)| (*count, verdict.name()));
        let counts = [(of.leaked, "leaked")].into_iter().chain(stranded).chain([
            (of.connected, "connected"),
            (of.listening, "listening"),
            (of.unconnected, "reserved"),
            (of.other_sockets, "other sockets"),
            (of.files, "files"),
        ]);
        let mut comma = "";
        for (count, what) in counts.filter(|&(count, _)| count > 0) {
            write!(f, "{comma}{count} {what}")?;
            comma = ", ";
        }
        if of.idle > 0 {
            write!(
                f,
                "; {} connections idle for over an hour, {} of them without keepalive",
                of.idle, of.idle_without_keepalive
            )?;
        }
        Ok(())
    }
}

/// A listener: how full its queue is.
pub(super) struct ListenerLine<'a>(pub(super) &'a ListenerRow<'a>);

impl Display for ListenerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerRow { local, pid, backlog, max_backlog, .. } = self.0;
        let comm = self.0.comm.map_or("?".into(), sanitised);
        write!(f, "listener {local} of {comm}[{pid}]")?;
        match self.0.holders.len() {
            0 | 1 => {}
            2 => f.write_str(" and another process")?,
            several => write!(f, " and {} other processes", several - 1)?,
        }
        if self.0.holders_omitted > 0 {
            write!(f, ", +{} holders", self.0.holders_omitted)?;
        }
        if let Some(fd) = self.0.fds.first() {
            write!(f, ", fd {fd}")?;
        }
        write!(f, ": backlog: {backlog}/{max_backlog}")?;
        for (count, what) in
            [(self.0.never_accepted, "never accepted"), (self.0.unaccepted, "unaccepted")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
