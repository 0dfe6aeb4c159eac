//! The user who called sockleak through sudo, as /etc/passwd and /etc/group have it. No other database is
//! asked: it may take long to answer, and a static program takes half a megabyte more to ask.

use std::ffi::OsString;
use std::{env, fs, io};

use nix::unistd::{Gid, Uid, getgroups, setegid, seteuid, setgid, setgroups, setuid};

/// A user, and what belongs to a session of theirs.
#[derive(Clone, Debug)]
pub struct Caller {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    /// Environment variables that name the user.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Caller {
    /// The user behind sudo; `None` where there is none, or that is root, or we cannot become another.
    pub fn behind_sudo() -> Option<Self> {
        if !Uid::effective().is_root() {
            return None;
        }
        let number = |name| env::var(name).ok()?.parse().ok();
        let uid = number("SUDO_UID").map(Uid::from_raw).filter(|uid| !uid.is_root())?;
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = passwd.lines().map(fields).find(|entry| is_number(entry, 2, uid.as_raw()));
        let field = |at: usize| entry.as_ref().and_then(|entry| entry.get(at).copied());
        let gid = number("SUDO_GID").or_else(|| field(3)?.parse().ok()).map(Gid::from_raw)?;
        let name = field(0).map(OsString::from).or_else(|| env::var_os("SUDO_USER"));
        let home = field(5).map(OsString::from);
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let groups = groups_of(name.as_ref().and_then(|name| name.to_str()), gid, &groups);
        let variables = [("HOME", home), ("USER", name.clone()), ("LOGNAME", name)];
        Some(Self {
            uid,
            gid,
            groups,
            environment: variables
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        })
    }

    /// Becomes the user for good. Between fork() and exec() this is allowed: it only makes system calls.
    ///
    /// # Errors
    /// Where the kernel does not allow it.
    pub fn assume(&self) -> io::Result<()> {
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        Ok(setuid(self.uid)?)
    }

    /// Does something as the user, such as to open a file.
    ///
    /// # Errors
    /// Where the kernel does not allow to become the user and back.
    pub fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let (own, groups) = (Gid::effective(), getgroups()?);
        setgroups(&self.groups)?;
        setegid(self.gid)?;
        seteuid(self.uid)?;
        let value = work();
        seteuid(Uid::from_raw(0))?;
        setegid(own)?;
        setgroups(&groups)?;
        Ok(value)
    }
}

/// The fields of a line of /etc/passwd or /etc/group.
fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn is_number(fields: &[&str], at: usize, number: u32) -> bool {
    fields.get(at).and_then(|field| field.parse().ok()) == Some(number)
}

/// The groups of a user, by the text of /etc/group; the first is the user's own.
fn groups_of(name: Option<&str>, own: Gid, text: &str) -> Vec<Gid> {
    let has_name = |members: &str| members.split(',').any(|member| Some(member) == name);
    let group = |line| match fields(line)[..] {
        [_, _, gid, members] if has_name(members) => gid.parse().ok().map(Gid::from_raw),
        _ => None,
    };
    let others = text.lines().filter_map(group).filter(|&gid| gid != own);
    [own].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_that_name_the_user() {
        let text =
            "root:x:0:\ndocker:x:99:ann,bob\nann:x:5:ann\nwheel:x:10:bobby\nbad\nx:x:y:ann\n";
        let of = |name| groups_of(name, Gid::from_raw(5), text);
        assert_eq!(of(Some("ann")), [5, 99].map(Gid::from_raw));
        assert_eq!(of(Some("carl")), [Gid::from_raw(5)]);
        assert_eq!(of(None), [Gid::from_raw(5)]);
    }
}
