//! Which sockets count.

mod whose;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::whose::{Pattern, PodName, Whose, has_exe, is_in_container, is_in_unit};
use super::row::{AgeIs, Holders, Ownership, SocketRow};
use crate::host::identity::{Identity, users};
use crate::host::netns;
use crate::live::table::{Queue, Table};
use crate::sock::conn::{Conn, Endpoint};
use crate::sock::event::Process;
use crate::sock::leak::Verdict;
use crate::sock::state::StateSet;

/// Conditions that a row has to meet to be shown. An empty one does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In its state (what is not over: idle) for so long, provably.
    pub min_age: Option<Duration>,
    /// Held by one of these processes.
    pub pid: Vec<u32>,
    /// Held by a process with one of these names.
    pub comm: Vec<String>,
    /// Held by a process of one of these users.
    pub uid: Vec<u32>,
    /// Held by a process that meets these.
    pub whose: Whose,
    /// Our end is one of these.
    pub local: Vec<Address>,
    /// The peer's end is one of these.
    pub remote: Vec<Address>,
    /// Either end has one of these ports.
    pub port: Vec<u16>,
    /// In one of these network namespaces.
    pub netns: Vec<u32>,
    /// With one of these verdicts.
    pub verdict: Vec<Verdict>,
    /// In one of these states.
    pub state: Vec<StateSet>,
    /// Like none of these.
    pub not: Vec<Filter>,
    /// The processes whose full name is one of `comm`, as far as that has been looked up.
    pub named: BTreeSet<u32>,
    /// The network namespaces of all processes that are asked for, where that has been looked up.
    pub homes: Option<BTreeSet<u32>>,
}

impl Filter {
    /// Returns true if it lets everything pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if the row is shown.
    pub fn matches(&self, row: &SocketRow<'_>) -> bool {
        self.is_old_enough(row) && self.matches_socket(row) && self.matches_a_process(&row.holders)
    }

    /// Returns true if an accept queue may hold rows that are shown. Age and verdict are those of
    /// connections: they exclude no queue.
    pub fn matches_queue(&self, table: &Table, queue: &Queue) -> bool {
        let Conn { local, remote, netns } = queue.listener.conn;
        let is_known = |known: &Self| {
            let is_on_listeners = known.verdict.is_empty() && known.state.is_empty();
            is_on_listeners && known.matches_queue(table, queue)
        };
        self.matches_conn(&local, &remote, netns)
            && self.matches_a_process(&Holders::new(table, None, &queue.holders))
            && !self.not.iter().any(is_known)
    }

    /// Returns true if it has a condition on processes.
    pub fn is_on_processes(&self) -> bool {
        let Self { pid, comm, uid, whose, .. } = self;
        !(pid.is_empty() && comm.is_empty() && uid.is_empty() && whose.is_empty())
    }

    fn is_old_enough(&self, row: &SocketRow<'_>) -> bool {
        self.min_age.is_none_or(|least| u128::from(row.lasting()) >= least.as_nanos())
    }

    /// Returns true if the row meets the conditions that are neither on its age nor on its holders.
    fn matches_socket(&self, row: &SocketRow<'_>) -> bool {
        self.matches_conn(&row.local, &row.remote, row.netns)
            && any(&self.verdict, |&verdict| row.verdict == Some(verdict))
            && any(&self.state, |states| states.contains(row.state))
            && !self.not.iter().any(|known| known.matches(row))
    }

    /// Returns true if one of these processes meets the conditions on processes.
    fn matches_a_process(&self, holders: &Holders<'_>) -> bool {
        let matches = |(pid, process)| self.is_named(pid, process) && self.whose.is_met_by(pid);
        !self.is_on_processes() || holders.processes().any(matches)
    }

    /// Returns true if a process meets the conditions on number, name and user.
    fn is_named(&self, pid: u32, process: Option<&Process>) -> bool {
        any(&self.pid, |&wanted| pid == wanted)
            && (self.named.contains(&pid)
                || any(&self.comm, |comm| process.is_some_and(|one| one.comm == *comm)))
            && any(&self.uid, |&uid| process.is_some_and(|process| process.uid == uid))
    }

    /// True if a row that it does not show may be one of those that were asked for: nobody knows
    /// whose it is, or not all of its holders are listed.
    pub fn may_miss(&self, row: &SocketRow<'_>) -> bool {
        let is_near = self.homes.as_ref().is_none_or(|homes| homes.contains(&row.netns));
        let is_known = row.ownership != Ownership::Unknown && row.holders_omitted == 0;
        self.is_on_processes()
            && !is_known
            && is_near
            && self.is_old_enough(row)
            && self.matches_socket(row)
    }

    /// True if a row that it does not show may be one of those that were asked for: it is known which
    /// process holds it, and not who that is.
    pub fn is_in_doubt(&self, row: &SocketRow<'_>) -> bool {
        let may_be = |(pid, process)| self.is_named(pid, process) && self.whose.is_in_doubt(pid);
        row.holders.processes().any(may_be) && self.is_old_enough(row) && self.matches_socket(row)
    }

    /// True if a row that it shows may be a known leak: nobody can tell who holds it.
    pub fn may_be_known(&self, row: &SocketRow<'_>) -> bool {
        self.not.iter().any(|known| known.is_in_doubt(row))
    }

    /// True if a row that it does not show may be old enough: one look cannot date it.
    pub fn may_be_older(&self, row: &SocketRow<'_>) -> bool {
        let least = self.min_age.map_or(0, |least| least.as_nanos());
        let may_be = row.age_at_most.is_none_or(|most| u128::from(most) >= least);
        let is_undated = row.age_is == AgeIs::AtLeast && !row.is_by_idleness();
        let is_too_young = !self.is_old_enough(row) && is_undated && may_be;
        is_too_young && self.matches_socket(row) && self.matches_a_process(&row.holders)
    }

    /// True if it, or what it leaves out, asks who processes are.
    pub fn asks_whose(&self) -> bool {
        !self.whose.is_empty() || self.not.iter().any(Self::asks_whose)
    }

    /// True if it, or what it leaves out, asks for executables: their base names are names, too.
    pub fn asks_for_executables(&self) -> bool {
        let asks = !(self.whose.exe.is_empty() && self.comm.is_empty());
        asks || self.not.iter().any(Self::asks_for_executables)
    }

    /// Takes who the processes are; `None` where that is not known. `whole` reads the whole command line
    /// of one.
    pub fn set_identities(
        &mut self,
        all: &[(u32, Option<&Identity>)],
        whole: &dyn Fn(u32) -> Option<String>,
    ) {
        self.whose.set(all.iter().copied(), whole);
        self.not.iter_mut().for_each(|known| known.set_identities(all, whole));
    }

    /// True if it, or what it leaves out, asks for processes by name.
    pub fn asks_for_names(&self) -> bool {
        !self.comm.is_empty() || self.not.iter().any(Self::asks_for_names)
    }

    /// Takes the full names of processes.
    pub fn set_named<'a>(&mut self, names: impl Iterator<Item = (u32, &'a [String])> + Clone) {
        let has_one = |names: &[String]| names.iter().any(|name| self.comm.contains(name));
        self.named = names.clone().filter(|(_, full)| has_one(full)).map(|(pid, _)| pid).collect();
        for known in &mut self.not {
            // A closed type: the iterator would grow with each level of the recursion.
            let names: Vec<_> = names.clone().collect();
            known.set_named(names.into_iter());
        }
    }

    /// Returns true if such a connection meets the conditions on connections.
    pub fn matches_conn(&self, local: &Endpoint, remote: &Endpoint, netns: u32) -> bool {
        any(&self.local, |address| address.matches(local))
            && any(&self.remote, |address| address.matches(remote))
            && any(&self.port, |&port| local.port == port || remote.port == port)
            && any(&self.netns, |&inode| netns == inode)
    }
}

/// An empty list allows everything.
fn any<T>(allowed: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    allowed.is_empty() || allowed.iter().any(matches)
}

/// `ADDR`, `ADDR/BITS`, `ADDR:PORT`, `ADDR/BITS:PORT` or `:PORT`; IPv6 in brackets where a port
/// follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    net: Option<IpNet>,
    port: Option<u16>,
}

impl Address {
    fn matches(&self, endpoint: &Endpoint) -> bool {
        self.net.is_none_or(|net| net.contains(&endpoint.addr()))
            && self.port.is_none_or(|port| endpoint.port == port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (net, port) = split(text)?;
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| format!("'{port}' is not a port"))?),
            None => None,
        };
        if net.is_empty() && port.is_some() {
            return Ok(Self { net: None, port });
        }
        let parsed = net.parse::<IpNet>().ok().or_else(|| Some(net.parse::<IpAddr>().ok()?.into()));
        match parsed {
            Some(net) => Ok(Self { net: Some(unmapped(net)), port }),
            None => Err(format!(
                "'{net}' is neither an IP address nor a CIDR block (names are not looked up)"
            )),
        }
    }
}

/// A v4-mapped address prints as the IPv4 address, and is sought as that; so is a block of them.
fn unmapped(net: IpNet) -> IpNet {
    let v4 = |net: Ipv6Net| {
        let bits = net.prefix_len().checked_sub(96)?;
        Ipv4Net::new(net.addr().to_ipv4_mapped()?, bits).ok()
    };
    match net {
        IpNet::V6(v6) => v4(v6).map_or(net, IpNet::V4),
        IpNet::V4(_) => net,
    }
}

/// Splits the port off.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (net, rest) = rest.split_once(']').ok_or("a ']' is missing")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((net, Some(port))),
            None if rest.is_empty() => Ok((net, None)),
            None => Err(format!("'{rest}' after the ']' is not a port")),
        };
    }
    Ok(match text.split_once(':') {
        // More than one colon: IPv6 without a port.
        Some((_, port)) if port.contains(':') => (text, None),
        Some((net, port)) => (net, Some(port)),
        None => (text, None),
    })
}

impl FromStr for Filter {
    type Err = String;

    /// `KEY=VALUE,…`; a key may be repeated, and then either value will do.
    fn from_str(text: &str) -> Result<Self, String> {
        const KEYS: &str = "pid, comm, uid, user, exe, cmd, unit, container, pod, local, remote, \
                            port, netns, state, verdict";
        fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("{key}={value} is not a number of that kind"))
        }
        let mut filter = Self::default();
        for clause in text.split(',') {
            let (key, value) = clause
                .split_once('=')
                .filter(|(_, value)| !value.is_empty())
                .ok_or_else(|| format!("'{clause}' is not KEY=VALUE; keys are {KEYS}"))?;
            match key {
                "pid" => filter.pid.push(number(key, value)?),
                "comm" => filter.comm.push(value.to_owned()),
                "uid" => filter.uid.push(number(key, value)?),
                "user" => filter.uid.push(users::uid(value)?),
                "exe" => filter.whose.exe.push(value.to_owned()),
                "cmd" => filter.whose.cmd.push(value.parse()?),
                "unit" => filter.whose.unit.push(value.to_owned()),
                "container" => filter.whose.container.push(value.to_owned()),
                "pod" => filter.whose.pod.push(value.parse()?),
                "local" => filter.local.push(value.parse()?),
                "remote" => filter.remote.push(value.parse()?),
                "port" => filter.port.push(number(key, value)?),
                "netns" => {
                    let inode = value.parse().or_else(|_| netns::inode(Path::new(value)));
                    filter.netns.push(inode.map_err(|error| format!("{key}={value}: {error}"))?);
                }
                "state" => filter.state.push(value.parse()?),
                "verdict" => filter.verdict.push(value.parse()?),
                _ => return Err(format!("'{key}' is not a key; keys are {KEYS}")),
            }
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn matches(address: &str, endpoint: &str) -> bool {
        let endpoint = Endpoint::from(endpoint.parse::<SocketAddr>().unwrap());
        address.parse::<Address>().unwrap().matches(&endpoint)
    }

    #[test]
    fn every_form_of_address() {
        for yes in ["10.1.2.3", "10.1.0.0/16", "10.1.2.3:80", "10.0.0.0/8:80", ":80", "0.0.0.0/0"] {
            assert!(matches(yes, "10.1.2.3:80"), "{yes}");
        }
        for no in ["10.1.2.4", "10.2.0.0/16", "10.1.2.3:81", ":81", "::/0"] {
            assert!(!matches(no, "10.1.2.3:80"), "{no}");
        }
        for yes in ["fd00::1", "[fd00::1]", "[fd00::1]:80", "fd00::/8", "[fd00::/8]:80", ":80"] {
            assert!(matches(yes, "[fd00::1]:80"), "{yes}");
        }
        for yes in
            ["::ffff:10.1.2.3", "::ffff:10.1.0.0/112", "[::ffff:10.0.0.0/104]:80", "::ffff:0:0/96"]
        {
            assert!(matches(yes, "10.1.2.3:80"), "{yes}");
        }
        for no in ["::ffff:10.2.0.0/112", "[::ffff:10.0.0.0/104]:81", "::/80", "::ffff:0:0/95"] {
            assert!(!matches(no, "10.1.2.3:80"), "{no}");
        }
    }

    #[test]
    fn known_leaks_are_named_by_keys() {
        let known: Filter = "port=9000,verdict=eof-unread,port=80".parse().unwrap();
        let wanted =
            Filter { port: vec![9000, 80], verdict: vec![Verdict::EofUnread], ..Filter::default() };
        assert_eq!(known, wanted);
        let own = netns::inode(Path::new("/proc/self/ns/net")).unwrap();
        let known: Filter = format!("netns=/proc/self/ns/net,netns={own}").parse().unwrap();
        assert_eq!(known.netns, [own, own]);
        let no_netns = ["netns=x", "netns=/dev/null"];
        let bad = ["", "port", "port=", "port=x", "verdict=eof", "age=5", "local=host", ","];
        for bad in bad.into_iter().chain(no_netns) {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for bad in ["", "10.1.2", "10.0.0.0/33", "10.1.2.3:http", "10.1.2.3:70000", "[::1", "host"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        assert_eq!("[::1]80".parse::<Address>().unwrap_err(), "'80' after the ']' is not a port");
    }
}
