//! Conditions on who a process is: its program, its unit, its container, its pod.
//!
//! A condition is met, is not met, or cannot be known: /proc may not show an executable, and nothing
//! may name a pod. `None` stands for the last.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::host::identity::Identity;
use crate::host::identity::cgroup::without_escapes;

/// Conditions on who a process is. An empty list does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// It runs one of these: a path, or the base name of one.
    pub exe: Vec<String>,
    /// Its command line is like one of these.
    pub cmd: Vec<Pattern>,
    /// It is in one of these systemd units.
    pub unit: Vec<String>,
    /// It is in one of these containers: the beginning of an ID, or a name.
    pub container: Vec<String>,
    /// It is in one of these pods.
    pub pod: Vec<PodName>,
    /// The processes that meet them,
    pub met_by: BTreeSet<u32>,
    /// and those that may, as far as that has been looked up.
    pub in_doubt: BTreeSet<u32>,
}

impl Whose {
    /// True if there is no condition.
    pub fn is_empty(&self) -> bool {
        let Self { exe, cmd, unit, container, pod, .. } = self;
        [exe, unit, container].iter().all(|list| list.is_empty())
            && cmd.is_empty()
            && pod.is_empty()
    }

    /// True if this process meets all conditions.
    pub(super) fn is_met_by(&self, pid: u32) -> bool {
        self.is_empty() || self.met_by.contains(&pid)
    }

    /// True if nobody can tell whether this process does.
    pub(super) fn is_in_doubt(&self, pid: u32) -> bool {
        !self.is_empty() && self.in_doubt.contains(&pid)
    }

    /// Takes who the processes are; `None` where nobody has looked yet. `whole` reads the whole command
    /// line of one.
    pub(super) fn set<'a>(
        &mut self,
        all: impl Iterator<Item = (u32, Option<&'a Identity>)>,
        whole: &dyn Fn(u32) -> Option<String>,
    ) {
        self.met_by.clear();
        self.in_doubt.clear();
        for (pid, identity) in all {
            match identity.and_then(|identity| self.matches(identity, &|| whole(pid))) {
                Some(true) => drop(self.met_by.insert(pid)),
                Some(false) => {}
                None => drop(self.in_doubt.insert(pid)),
            }
        }
    }

    /// Tells whether a process meets all conditions. One that has ended holds nothing, whoever it was.
    /// `whole` reads its whole command line.
    pub fn matches(&self, identity: &Identity, whole: &dyn Fn() -> Option<String>) -> Option<bool> {
        if identity.known.ended && !self.is_empty() {
            return Some(false);
        }
        let conditions = [
            any(&self.exe, |exe| has_exe(identity, exe)),
            any(&self.cmd, |pattern| pattern.is_in_command_of(identity, whole)),
            any(&self.unit, |unit| is_in_unit(identity, unit)),
            any(&self.container, |container| is_in_container(identity, container)),
            any(&self.pod, |pod| pod.has(identity)),
        ];
        match conditions {
            _ if conditions.contains(&Some(false)) => Some(false),
            _ if conditions.contains(&None) => None,
            _ => Some(true),
        }
    }
}

/// Tells whether one of these is met; an empty list is.
fn any<T>(list: &[T], matches: impl Fn(&T) -> Option<bool>) -> Option<bool> {
    let mut answers = list.iter().map(matches);
    match list.is_empty() {
        true => Some(true),
        false => answers
            .try_fold(Some(false), |so_far, one| match one {
                // `Err` ends the search.
                Some(true) => Err(()),
                Some(false) => Ok(so_far),
                None => Ok(None),
            })
            .unwrap_or(Some(true)),
    }
}

/// Tells whether a process runs this executable: its path, or the base name of that.
pub fn has_exe(identity: &Identity, wanted: &str) -> Option<bool> {
    let Some(exe) = &identity.exe else { return identity.known.exe.then_some(false) };
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    Some(exe == wanted || exe.rsplit('/').next() == Some(wanted))
}

/// Tells whether a process is in this unit; `.service` may be left out, and `\x2d` may stand for a byte.
pub fn is_in_unit(identity: &Identity, wanted: &str) -> Option<bool> {
    match &identity.unit {
        Some(unit) => {
            let is = |wanted: &str| {
                unit == wanted || unit.strip_suffix(".service").is_some_and(|name| name == wanted)
            };
            Some(is(wanted) || is(&without_escapes(wanted)))
        }
        None => identity.known.cgroup.then_some(false),
    }
}

/// Tells whether a process is in this container. Containers of pods alone have names that can be known.
pub fn is_in_container(identity: &Identity, wanted: &str) -> Option<bool> {
    let Some(id) = &identity.container_id else {
        return identity.known.cgroup.then_some(false);
    };
    match &identity.container {
        _ if id.starts_with(wanted) => Some(true),
        Some(name) => Some(name == wanted),
        None if identity.pod_uid.is_some() && !is_id(wanted) => None,
        None => Some(false),
    }
}

/// True for as many digits of an ID as `docker ps` shows: nobody names a container like that.
fn is_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Words that a command line has in it, in this order: `*` stands between them for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the command line of a process is like this. An identity has the beginning of it;
    /// `whole` reads the rest.
    pub fn is_in_command_of(
        &self,
        identity: &Identity,
        whole: &dyn Fn() -> Option<String>,
    ) -> Option<bool> {
        let Some(arguments) = &identity.cmdline else {
            return identity.known.cmdline.then_some(false);
        };
        let is_cut = arguments.last().is_some_and(|last| last.ends_with('…'));
        match self.is_in(&arguments.join(" ")) {
            true => Some(true),
            false if is_cut => whole().map(|command| self.is_in(&command)),
            false => Some(false),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let mut rest = text;
        self.0.split('*').all(|word| match rest.split_once(word) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => word.is_empty(),
        })
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_matches('*').is_empty() {
            true => {
                Err("give words of the command line, with * between them for anything".to_owned())
            }
            false => Ok(Self(text.to_owned())),
        }
    }
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    namespace: String,
    name: String,
}

impl PodName {
    /// Tells whether a process is in this pod.
    pub fn has(&self, identity: &Identity) -> Option<bool> {
        match (&identity.namespace, &identity.pod) {
            (Some(namespace), Some(name)) => {
                Some(*namespace == self.namespace && *name == self.name)
            }
            _ if identity.pod_uid.is_some() => None,
            _ => identity.known.cgroup.then_some(false),
        }
    }
}

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for PodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').filter(|(namespace, name)| {
            !namespace.is_empty() && !name.is_empty() && !name.contains('/')
        });
        let (namespace, name) =
            parts.ok_or("give NAMESPACE/NAME, as `kubectl get pods -A` prints them")?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::identity::Known;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    const UNREADABLE: fn() -> Option<String> = || None;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn of(exe: &str, cmdline: &[&str]) -> Identity {
        let cmdline = Some(cmdline.iter().map(|&one| one.to_owned()).collect());
        Identity { exe: some(exe), cmdline, known: Known::ALL, ..Identity::UNKNOWN }
    }

    #[test]
    fn executables_by_path_or_base_name() {
        let java = of("/usr/lib/jvm/bin/java (deleted)", &["java"]);
        for (wanted, answer) in [
            ("java", true),
            ("/usr/lib/jvm/bin/java", true),
            ("/usr/bin/java", false),
            ("jav", false),
            ("", false),
        ] {
            assert_eq!(has_exe(&java, wanted), Some(answer), "{wanted}");
        }
        assert_eq!(has_exe(&Identity::UNKNOWN, "java"), None);
        let kernel_thread = Identity { known: Known::ALL, ..Identity::UNKNOWN };
        assert_eq!(has_exe(&kernel_thread, "java"), Some(false));
    }

    #[test]
    fn commands_by_words_in_their_order() {
        let java = of("/java", &["java", "-Xmx1g", "-jar", "shop.jar"]);
        for (pattern, answer) in [
            ("shop.jar", true),
            ("-jar shop", true),
            ("java*shop", true),
            ("*java*-jar*", true),
            ("shop*java", false),
            ("shop.jar*shop.jar", false),
            ("jar2", false),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.is_in_command_of(&java, &UNREADABLE), Some(answer), "{pattern:?}");
        }
        let pattern: Pattern = "shop".parse().unwrap();
        let cut = of("/java", &["java", "-cp…"]);
        assert_eq!(pattern.is_in_command_of(&cut, &UNREADABLE), None, "cut");
        for (whole, answer) in [("java -cp a shop.Main", true), ("java -cp a Main", false)] {
            let whole = || Some(whole.to_owned());
            assert_eq!(pattern.is_in_command_of(&cut, &whole), Some(answer));
        }
        assert_eq!(pattern.is_in_command_of(&Identity::UNKNOWN, &UNREADABLE), None);
        for bad in ["", "*", "**"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn units_with_and_without_their_ending() {
        let nginx = Identity { unit: some("nginx.service"), ..of("/nginx", &["nginx"]) };
        assert_eq!(is_in_unit(&nginx, "nginx"), Some(true));
        assert_eq!(is_in_unit(&nginx, "nginx.service"), Some(true));
        assert_eq!(is_in_unit(&nginx, "nginx.scope"), Some(false));
        let web = Identity { unit: some("shop-web.service"), ..nginx.clone() };
        for wanted in ["shop-web", r"shop\x2dweb.service", r"shop\x2dweb"] {
            assert_eq!(is_in_unit(&web, wanted), Some(true), "{wanted}");
        }
        assert_eq!(is_in_unit(&web, r"shop\x2eweb"), Some(false));
        assert_eq!(is_in_unit(&of("/a", &[]), "nginx"), Some(false), "in no unit");
        assert_eq!(is_in_unit(&Identity::UNKNOWN, "nginx"), None);
    }

    #[test]
    fn containers_by_the_beginning_of_their_id_or_by_name() {
        let docker = Identity { container_id: some(ID), ..of("/a", &[]) };
        assert_eq!(is_in_container(&docker, "0123"), Some(true));
        assert_eq!(is_in_container(&docker, "123"), Some(false));
        assert_eq!(is_in_container(&docker, "web"), Some(false), "docker's names are not known");
        let pod = Identity { pod_uid: some("uid"), ..docker.clone() };
        assert_eq!(is_in_container(&pod, "web"), None);
        assert_eq!(is_in_container(&pod, "ffffffffffff"), Some(false), "an ID");
        let web = Identity { container: some("web"), ..pod };
        assert_eq!(is_in_container(&web, "web"), Some(true));
        assert_eq!(is_in_container(&web, "we"), Some(false));
        assert_eq!(is_in_container(&of("/a", &[]), "web"), Some(false));
        assert_eq!(is_in_container(&Identity::UNKNOWN, "web"), None);
    }

    #[test]
    fn pods_by_namespace_and_name() {
        let wanted: PodName = "shop/web-0".parse().unwrap();
        let unnamed = Identity { pod_uid: some("uid"), ..of("/a", &[]) };
        let pod = |namespace, name| Identity {
            namespace: some(namespace),
            pod: some(name),
            ..unnamed.clone()
        };
        assert_eq!(wanted.has(&pod("shop", "web-0")), Some(true));
        assert_eq!(wanted.has(&pod("shop", "web-1")), Some(false));
        assert_eq!(wanted.has(&pod("test", "web-0")), Some(false));
        assert_eq!(wanted.has(&unnamed), None, "no log folder names it");
        assert_eq!(wanted.has(&of("/a", &[])), Some(false));
        for bad in ["", "web-0", "/web-0", "shop/", "shop/web-0/nginx"] {
            assert!(bad.parse::<PodName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_conditions_have_to_be_met_and_doubt_stays_doubt() {
        let whose = |exe: &[&str], unit: &[&str]| Whose {
            exe: exe.iter().map(|&one| one.to_owned()).collect(),
            unit: unit.iter().map(|&one| one.to_owned()).collect(),
            ..Whose::default()
        };
        let nginx = Identity { unit: some("nginx.service"), ..of("/nginx", &["nginx"]) };
        let known = Known { exe: false, ..Known::ALL };
        let hidden = Identity { exe: None, known, ..nginx.clone() };
        assert_eq!(Whose::default().matches(&Identity::UNKNOWN, &UNREADABLE), Some(true));
        assert_eq!(whose(&["java", "nginx"], &[]).matches(&nginx, &UNREADABLE), Some(true));
        assert_eq!(whose(&["nginx"], &["a", "nginx"]).matches(&nginx, &UNREADABLE), Some(true));
        assert_eq!(whose(&["nginx"], &["a"]).matches(&nginx, &UNREADABLE), Some(false));
        assert_eq!(whose(&["nginx"], &["nginx"]).matches(&hidden, &UNREADABLE), None);
        assert_eq!(
            whose(&["nginx"], &["a"]).matches(&hidden, &UNREADABLE),
            Some(false),
            "one is not met"
        );
        let ended = Known { ended: true, ..Known::default() };
        let ended = Identity { known: ended, ..Identity::UNKNOWN };
        assert_eq!(
            whose(&["nginx"], &[]).matches(&ended, &UNREADABLE),
            Some(false),
            "it holds nothing"
        );
        let mut both = whose(&["nginx"], &[]);
        both.set([(7, Some(&nginx)), (8, Some(&hidden)), (9, None)].into_iter(), &|_| None);
        assert!(both.is_met_by(7) && !both.is_met_by(8) && !both.is_met_by(9));
        assert!(!both.is_in_doubt(7) && both.is_in_doubt(8) && both.is_in_doubt(9));
    }
}
