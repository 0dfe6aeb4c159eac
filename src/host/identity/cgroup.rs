//! Reads systemd units, containers and pods off the paths in /proc/PID/cgroup. Pure.
//!
//! The file has a line for each hierarchy: `0::PATH` is cgroup v2, `N:CONTROLLERS:PATH` is v1, and a
//! hybrid host has both. Only some of the hierarchies name the container: runtimes that manage v1
//! leave v2 as it was, where the path is that of the daemon. So one line is believed entirely: the
//! first that names a container, or else the first that names a unit.

/// Identifiers on the way to a cgroup; unknown ones are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The systemd unit: a service or a scope; of a user's manager, the user's unit.
    pub unit: Option<String>,
    /// The unit of the user's manager that this unit is of: another user may have one of the same name.
    pub manager: Option<String>,
    /// The innermost slice that the unit is in.
    pub slice: Option<String>,
    /// The program that runs the container: `docker`, `containerd`, `cri-o` or `podman`.
    pub runtime: Option<&'static str>,
    /// The container's ID: 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// The Kubernetes pod.
    pub pod_uid: Option<String>,
}

impl Cgroup {
    /// Reads a whole /proc/PID/cgroup.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<_> = text.lines().filter_map(split).collect();
        lines.sort_by_key(|&(rank, _)| rank);
        let found: Vec<_> = lines.into_iter().map(|(_, path)| Self::of_path(path)).collect();
        let first = |has: fn(&Self) -> bool| found.iter().find(|one| has(one));
        first(|one| one.container_id.is_some())
            .or_else(|| first(|one| one.pod_uid.is_some()))
            .or_else(|| first(|one| one.unit.is_some()))
            .or_else(|| first(|one| one.slice.is_some()))
            .cloned()
            .unwrap_or_default()
    }

    /// Reads the path of one hierarchy.
    fn of_path(path: &str) -> Self {
        // Seen from a private cgroup namespace, others are `..`, below ancestors that it hides.
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let hidden = parts.iter().take_while(|&&part| part == "..").count();
        let (unit, slice, manager) = unit_and_slice(&parts[hidden..], hidden > 0);
        let containers = parts.iter().enumerate().rev();
        let innermost = containers.filter_map(|(at, part)| {
            let (runtime, id) = container(part, &parts[..at])?;
            Some((at, runtime, id.to_owned()))
        });
        let (depth, runtime, container_id) = match innermost.into_iter().next() {
            Some((at, runtime, id)) => (at + 1, runtime, Some(id)),
            None => (parts.len(), None, None),
        };
        // A pod that the container is in; those below it run inside of it.
        let pod_uid = parts[..depth].iter().rev().find_map(|part| pod(part));
        Self { unit, manager, slice, runtime, container_id, pod_uid }
    }
}

/// The path in a line, and the place of its hierarchy among those that may name a unit.
fn split(line: &str) -> Option<(u8, &str)> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let rank = match (number, controllers) {
        ("0", "") => 0,
        (_, "name=systemd") => 1,
        _ => 2,
    };
    Some((rank, path.strip_suffix(" (deleted)").unwrap_or(path)))
}

/// A unit, its slice, and the user's manager that it is of.
type Place = (Option<String>, Option<String>, Option<String>);

/// The unit and the slice of a path, by systemd's own rule (`cg_path_get_unit`): slices, and then a
/// unit. What is below ancestors that are hidden needs a slice to begin with: otherwise it may be
/// anybody's.
fn unit_and_slice(parts: &[&str], is_hidden: bool) -> Place {
    let slices = parts.iter().take_while(|part| has_suffix(part, ".slice")).count();
    if is_hidden && slices == 0 {
        return (None, None, None);
    }
    let slice = slices.checked_sub(1).map(|last| unescaped(parts[last]));
    let Some(unit) = parts.get(slices).filter(|part| is_unit(part)) else {
        return (None, slice, None);
    };
    // A user's manager is a unit that has slices and units of its own.
    if unit.starts_with("user@")
        && let (Some(own), of_user, _) = unit_and_slice(&parts[slices + 1..], false)
    {
        return (Some(own), of_user.or(slice), Some(unescaped(unit)));
    }
    (Some(unescaped(unit)), slice, None)
}

fn is_unit(part: &str) -> bool {
    has_suffix(part, ".service") || has_suffix(part, ".scope")
}

fn has_suffix(part: &str, suffix: &str) -> bool {
    part.strip_suffix(suffix).is_some_and(|name| !name.is_empty())
}

/// A container's ID and runtime, if the last part of a path names one; `above` is the rest.
fn container<'a>(part: &'a str, above: &[&str]) -> Option<(Option<&'static str>, &'a str)> {
    if is_id(part) {
        let is_dockers = above.last() == Some(&"docker");
        return Some((is_dockers.then_some("docker"), part));
    }
    let part = part.strip_suffix(".scope").unwrap_or(part);
    // A kubelet with the systemd driver and a containerd without: `SLICE:cri-containerd:ID`.
    let (prefix, id) = match part.rsplit_once(':') {
        Some((rest, id)) => (rest.rsplit_once(':').map_or(rest, |(_, prefix)| prefix), id),
        None => part.rsplit_once('-')?,
    };
    if !is_id(id) || prefix.ends_with("conmon") {
        // conmon is the monitor of a container, and stays outside of it.
        return None;
    }
    let runtime = match prefix {
        "docker" => Some("docker"),
        "cri-containerd" | "nerdctl" => Some("containerd"),
        "crio" => Some("cri-o"),
        "libpod" | "libpod-payload" => Some("podman"),
        _ => None,
    };
    Some((runtime, id))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A pod's UID, if a part of a path names one: `podUID`, or the slice `kubepods-CLASS-podUID.slice`,
/// in which `_` stands for `-`. Pods that a file on the node defines have 32 hexadecimal digits.
fn pod(part: &str) -> Option<String> {
    // The part after a colon names a container in the pod's slice.
    let part = part.split_once(':').map_or(part, |(slice, _)| slice);
    let uid = match part.strip_suffix(".slice") {
        Some(slice) if slice.contains("kubepods") => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        Some(_) => return None,
        None => part.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

fn is_uid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut lengths = text.split('-').map(str::len);
    match text.len() {
        32 => is_hex(text),
        36 => lengths.by_ref().eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex),
        _ => false,
    }
}

/// A name without the escapes of systemd's cgroups: an underscore in front of names that the kernel keeps
/// for itself, and those of units.
fn unescaped(name: &str) -> String {
    without_escapes(name.strip_prefix('_').unwrap_or(name))
}

/// The name of a unit without the escapes that `systemctl` shows: `\x2d` for a byte.
pub fn without_escapes(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = rest.strip_prefix(br"\x").and_then(|hex| hex.split_at_checked(2));
        let value = digits.and_then(|(digits, _)| {
            let digits = str::from_utf8(digits).ok().filter(|two| !two.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (value, digits) {
            (Some(value), Some((_, after))) => {
                bytes.push(value);
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
