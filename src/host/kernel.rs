//! The kernel that we run on, by its own words.

use nix::sys::utsname::{UtsName, uname};

/// Its release, such as 6.1.0-49-cloud-amd64.
pub fn release() -> String {
    name(UtsName::release)
}

/// The architecture, such as x86_64.
pub fn machine() -> String {
    name(UtsName::machine)
}

fn name(get: fn(&UtsName) -> &std::ffi::OsStr) -> String {
    uname()
        .map_or_else(|_| "unknown".to_owned(), |names| get(&names).to_string_lossy().into_owned())
}
