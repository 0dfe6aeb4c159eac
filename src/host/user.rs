//! The user who called sockleak through sudo.

use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::unistd::{
    Gid, Uid, User, getgrouplist, getgroups, setegid, seteuid, setgid, setgroups, setuid,
};

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
        let entry = User::from_uid(uid).ok().flatten();
        let gid = number("SUDO_GID").map(Gid::from_raw).or(entry.as_ref().map(|user| user.gid))?;
        let name = entry.as_ref().map(|user| user.name.clone().into());
        let name: Option<OsString> = name.or_else(|| env::var_os("SUDO_USER"));
        let home: Option<PathBuf> = entry.map(|user| user.dir);
        let named = name.clone().and_then(|name| CString::new(name.into_vec()).ok());
        let groups = named.and_then(|name| getgrouplist(&name, gid).ok());
        let variables = [
            ("HOME", home.map(PathBuf::into_os_string)),
            ("USER", name.clone()),
            ("LOGNAME", name),
        ];
        Some(Self {
            uid,
            gid,
            groups: groups.unwrap_or_else(|| vec![gid]),
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
