//! A file that is replaced by another, which is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

/// A temporary file beside the one that it will replace.
pub(super) struct Replacement {
    path: PathBuf,
    is_done: bool,
}

impl Replacement {
    /// Says why this cannot be replaced, if it is no file.
    pub(super) fn refusal(target: &Path) -> Option<String> {
        let is_other = fs::metadata(target).is_ok_and(|found| !found.is_file());
        (is_other || target.file_name().is_none()).then(|| {
            format!(
                "invalid value '{}' for '--output <FILE>': it is no file, and would be replaced by \
                 one; give the name of a file, or use a pipe",
                target.display()
            )
        })
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
        // A link stays, and leads to the new file.
        let resolved = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let name = resolved.file_name().with_context(failed)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", process::id()));
        let path = resolved.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = io::BufWriter::new(file.with_context(failed)?);
        let mut replacement = Self { path, is_done: false };
        let written = write(&mut file).and_then(|()| file.flush());
        let replaced = written.and_then(|()| fs::rename(&replacement.path, &resolved));
        replacement.is_done = replaced.is_ok();
        replaced.with_context(failed)
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
    fn a_link_stays_and_what_is_no_file_is_refused() {
        let folder = Folder::new("linked");
        let (target, link) = (folder.0.join("report"), folder.0.join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(Replacement::refusal(&link), None);
        Replacement::write(&link, |_| Ok(())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
        for bad in [Path::new("/dev/null"), &folder.0, Path::new("/")] {
            assert!(Replacement::refusal(bad).is_some(), "{}", bad.display());
        }
        assert!(Replacement::write(Path::new("/no/such/folder/x"), |_| Ok(())).is_err());
    }
}
