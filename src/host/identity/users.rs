//! Users, as /etc/passwd names them. No other database is asked: an LDAP server may take long to
//! answer, or leak sockets itself.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use rustc_hash::FxHashMap;

const PASSWD: &str = "/etc/passwd";
/// No host has as many users as fill more.
const MOST: u64 = 16 << 20;

/// The names of users by their number; read again when the file changes.
#[derive(Debug, Default)]
pub(super) struct Users {
    names: FxHashMap<u32, String>,
    read: Option<SystemTime>,
}

impl Users {
    /// Takes notice of a change of the file.
    pub(super) fn refresh(&mut self) {
        let changed = fs::metadata(PASSWD).and_then(|file| file.modified()).ok();
        if self.read != changed {
            self.read = changed;
            self.names.clear();
            for (name, uid) in text().lines().filter_map(user) {
                // Of several names, `ps` shows the first, too.
                self.names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
    }

    pub(super) fn name(&self, uid: u32) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }
}

/// The number of a user, by name or number.
///
/// # Errors
/// Where it is no number, and /etc/passwd has no such name.
pub fn uid(user_or_uid: &str) -> Result<u32, String> {
    let named = |text: &str| {
        text.lines().filter_map(user).find(|(name, _)| *name == user_or_uid).map(|(_, uid)| uid)
    };
    user_or_uid.parse().ok().or_else(|| named(&text())).ok_or_else(|| {
        "there is no such user in /etc/passwd; give a name from there, or a number, as `id -u` \
         prints it"
            .to_owned()
    })
}

fn text() -> String {
    let mut bytes = Vec::new();
    // Where it cannot be read, nobody has a name.
    let _ = File::open(Path::new(PASSWD)).map(|file| file.take(MOST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `name:password:uid:…`
fn user(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    Some((name, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_a_number() {
        assert_eq!(user("shop:x:1001:1001:Shop:/srv/shop:/bin/false"), Some(("shop", 1001)));
        for no_user in
            ["", "#shop:x:1:1::/:", ":x:1:", "shop", "shop:x", "shop:x:many:1::/:", "+::::::"]
        {
            assert_eq!(user(no_user), None, "{no_user:?}");
        }
    }

    #[test]
    fn root_is_known_by_name_and_number() {
        assert_eq!((uid("root"), uid("0"), uid("54321")), (Ok(0), Ok(0), Ok(54_321)));
        assert!(uid("no-such-user-anywhere").unwrap_err().contains("/etc/passwd"));
        let mut users = Users::default();
        users.refresh();
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(3_999_999_999), None);
    }
}
