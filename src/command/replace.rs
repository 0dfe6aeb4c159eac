//! A file that is replaced by another, which is whole.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// A temporary file beside the one that it will replace.
pub(super) struct Replacement {
    path: PathBuf,
    is_done: bool,
}

impl Replacement {
    /// Says why this cannot be replaced, if it is no file, or has no folder.
    pub(super) fn refusal(target: &Path) -> Option<String> {
        let why = match existing(target) {
            Ok(Some(found)) if found.is_file() => return None,
            Ok(None) if target.file_name().is_some() => match fs::metadata(folder(&end(target))) {
                Ok(_) => return None,
                Err(error) => {
                    format!("its folder: {error}; give the name of a file in one that is there")
                }
            },
            Ok(_) => {
                "it is no file, and would be replaced by one; give the name of a file, or use a \
                      pipe"
                    .to_owned()
            }
            Err(error) => format!("{error}; give the name of a file"),
        };
        Some(format!("invalid value '{}' for '--output <FILE>': {why}", target.display()))
    }

    /// Writes a file that takes the place of the target once it is whole.
    ///
    /// # Errors
    /// Where not all can be written, or the folder takes no file.
    pub(super) fn write(
        target: &Path,
        write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
    ) -> Result<()> {
        let failed = || format!("cannot write {}", target.display());
        let before = existing(target).with_context(failed)?;
        let resolved = end(target);
        let name = resolved.file_name().with_context(failed)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", process::id()));
        let path = resolved.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = io::BufWriter::new(file.with_context(failed)?);
        let mut replacement = Self { path, is_done: false };
        // Who may read the old file may read the new one, and nobody else.
        let permitted = before.map_or(Ok(()), |before| like(&before, file.get_ref()));
        let written = permitted.and_then(|()| write(&mut file)).and_then(|()| file.flush());
        let replaced = written.and_then(|()| fs::rename(&replacement.path, &resolved));
        replacement.is_done = replaced.is_ok();
        replaced.with_context(failed)
    }
}

/// The file that is there, if one is. The kernel follows links for it: those that another user has laid in
/// /tmp it may refuse (`fs.protected_symlinks`).
fn existing(target: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(target) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a file the permissions of another, and its owner, where that is allowed.
fn like(before: &Metadata, file: &File) -> io::Result<()> {
    file.set_permissions(before.permissions())?;
    match fchown(file, Some(before.uid()), Some(before.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// The end of a chain of links, which stay, and lead to the new file.
fn end(target: &Path) -> PathBuf {
    let mut path = target.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&path) else { break };
        path = folder(&path).join(next);
    }
    path
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_done {
            // A file that is not whole need not be there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("sockleak-{name}-{}", process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_old_or_new_and_never_half() {
        let folder = Folder::new("replaced");
        let target = folder.0.join("report");
        fs::write(&target, "old").unwrap();
        let new = |out: &mut io::BufWriter<File>| {
            out.write_all(b"new")?;
            out.flush()?;
            assert_eq!(fs::read_to_string(&target).unwrap(), "old");
            Ok(())
        };
        Replacement::write(&target, new).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        let full = |_: &mut io::BufWriter<File>| Err(io::ErrorKind::StorageFull.into());
        assert!(Replacement::write(&target, full).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(folder.names(), ["report"], "nothing is left behind");
    }

    #[test]
    fn who_may_read_a_file_stays() {
        let folder = Folder::new("permissions");
        let target = folder.0.join("report");
        fs::write(&target, "old").unwrap();
        for mode in [0o600, 0o640, 0o664] {
            fs::set_permissions(&target, Permissions::from_mode(mode)).unwrap();
            Replacement::write(&target, |_| Ok(())).unwrap();
            let now = fs::metadata(&target).unwrap().permissions().mode();
            assert_eq!(now & 0o7777, mode, "{now:o}");
        }
    }

    #[test]
    fn a_link_stays_and_what_is_no_file_is_refused() {
        let folder = Folder::new("linked");
        let (target, link) = (folder.0.join("report"), folder.0.join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(Replacement::refusal(&link), None);
        Replacement::write(&link, |_| Ok(())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
        // One that leads nowhere yet, from its own folder.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("new", &link).unwrap();
        assert_eq!(Replacement::refusal(&link), None);
        Replacement::write(&link, |_| Ok(())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(folder.names(), ["link", "new", "report"]);
        for bad in [Path::new("/dev/null"), &folder.0, Path::new("/")] {
            assert!(Replacement::refusal(bad).is_some(), "{}", bad.display());
        }
        let nowhere = Path::new("/no/such/folder/x");
        assert!(Replacement::refusal(nowhere).unwrap().contains("its folder: No such file"));
        assert!(Replacement::write(nowhere, |_| Ok(())).is_err());
    }
}
