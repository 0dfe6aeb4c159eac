//! Names of pods and containers, as the kubelet's log folders have them: no API, and no token.
//!
//! A pod's logs are in `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log`. Which of several containers a
//! process is in, the links beside them say: `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`.

use std::fs;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::Identity;

/// How many entries of a folder are looked at: a node has at most some hundreds of pods.
const MOST: usize = 20_000;

/// Pods by UID, from the folder of their logs.
#[derive(Debug)]
pub struct PodLogs {
    folder: PathBuf,
    pods: FxHashMap<String, Pod>,
    /// Names of containers by their ID.
    containers: FxHashMap<String, String>,
    is_fresh: bool,
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    name: String,
    /// The only container, if there is one only.
    only: Option<String>,
}

impl PodLogs {
    /// The folder of pods' logs, by default /var/log/pods.
    pub fn new(folder: PathBuf) -> Self {
        let (pods, containers) = (FxHashMap::default(), FxHashMap::default());
        Self { folder, pods, containers, is_fresh: false }
    }

    /// Lets the folder be read again, once, if a pod or a container is not known.
    pub(super) fn expire(&mut self) {
        self.is_fresh = false;
    }

    /// Adds the names of the pod and the container to an identity that has their IDs.
    pub(super) fn add_names(&mut self, identity: &mut Identity) {
        let Some(uid) = &identity.pod_uid else { return };
        let id = identity.container_id.as_ref();
        let is_known =
            self.pods.contains_key(uid) && id.is_none_or(|id| self.containers.contains_key(id));
        if !is_known && !self.is_fresh {
            self.read();
        }
        let Some(pod) = self.pods.get(uid) else { return };
        identity.pod = Some(pod.name.clone());
        identity.namespace = Some(pod.namespace.clone());
        identity.container =
            id.and_then(|id| self.containers.get(id).or(pod.only.as_ref()).cloned());
    }

    fn read(&mut self) {
        self.is_fresh = true;
        let pods = names(&self.folder);
        self.pods = pods.filter_map(|name| self.pod(&name)).collect();
        let links = self.folder.parent().map(|logs| logs.join("containers"));
        let links = links.iter().flat_map(|links| names(links));
        self.containers = links.filter_map(|link| container(&link)).collect();
    }

    /// `NAMESPACE_POD_UID`. None of these has an underscore.
    fn pod(&self, folder: &str) -> Option<(String, Pod)> {
        let mut parts = folder.split('_');
        let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || [namespace, name, uid].iter().any(|part| part.is_empty()) {
            return None;
        }
        let mut containers = names(&self.folder.join(folder));
        let only = containers.next().filter(|_| containers.next().is_none());
        let pod = Pod { namespace: namespace.to_owned(), name: name.to_owned(), only };
        Some((uid.to_owned(), pod))
    }
}

/// `POD_NAMESPACE_CONTAINER-ID.log`: ID and container.
fn container(link: &str) -> Option<(String, String)> {
    let (names, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
    let container = names.split('_').nth(2).filter(|name| !name.is_empty())?;
    Some((id.to_owned(), container.to_owned()))
}

/// Names in a folder, as far as they are UTF-8; none where it cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST);
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "2f6e4c1a-7d3b-4e5f-8a9b-0c1d2e3f4a5b";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// Logs of these containers of one pod, and links beside them.
    fn logs(test: &str, containers: &[&str], links: &[&str]) -> (PathBuf, PodLogs) {
        let root = std::env::temp_dir().join(format!("sockleak-{test}-{}", std::process::id()));
        let pods = root.join("pods");
        for container in containers {
            fs::create_dir_all(pods.join(format!("shop_web-0_{UID}")).join(container)).unwrap();
        }
        for other in ["", "a_b", "a_b_c_d", "__", "lost+found"] {
            fs::create_dir_all(pods.join(other)).unwrap();
        }
        fs::create_dir_all(root.join("containers")).unwrap();
        for link in links {
            fs::write(root.join("containers").join(link), "").unwrap();
        }
        (root, PodLogs::new(pods))
    }

    fn named(pods: &mut PodLogs, uid: &str, id: Option<&str>) -> [Option<String>; 3] {
        let (pod_uid, container_id) = (Some(uid.to_owned()), id.map(str::to_owned));
        let mut identity = Identity { pod_uid, container_id, ..Identity::UNKNOWN };
        pods.add_names(&mut identity);
        [identity.namespace, identity.pod, identity.container]
    }

    fn some(names: [&str; 3]) -> [Option<String>; 3] {
        names.map(|name| Some(name.to_owned()))
    }

    #[test]
    fn the_only_container_of_a_pod_needs_no_link() {
        let (root, mut pods) = logs("only", &["nginx"], &[]);
        assert_eq!(named(&mut pods, UID, Some(ID)), some(["shop", "web-0", "nginx"]));
        // A process of the pod that is in none of its containers.
        let [namespace, pod, container] = named(&mut pods, UID, None);
        assert_eq!(
            (namespace.as_deref(), pod.as_deref(), container),
            (Some("shop"), Some("web-0"), None)
        );
        assert_eq!(named(&mut pods, "another", Some(ID)), [None, None, None]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn of_several_containers_a_link_tells() {
        let link = format!("web-0_shop_side-car-{ID}.log");
        let (root, mut pods) =
            logs("several", &["nginx", "side-car"], &[&link, "x.log", "-.log", "a_b_-1.log"]);
        assert_eq!(named(&mut pods, UID, Some(ID)), some(["shop", "web-0", "side-car"]));
        assert_eq!(named(&mut pods, UID, Some("unknown"))[2], None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_pod_that_comes_later_is_found_with_the_next_report() {
        let (root, mut pods) = logs("later", &[], &[]);
        assert_eq!(named(&mut pods, UID, Some(ID)), [None, None, None]);
        fs::create_dir_all(root.join("pods").join(format!("shop_web-0_{UID}/nginx"))).unwrap();
        assert_eq!(
            named(&mut pods, UID, Some(ID)),
            [None, None, None],
            "it is read once for a report"
        );
        pods.expire();
        assert_eq!(named(&mut pods, UID, Some(ID)), some(["shop", "web-0", "nginx"]));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn without_logs_nothing_has_a_name() {
        let mut pods = PodLogs::new(PathBuf::from("/no/such/folder"));
        assert_eq!(named(&mut pods, UID, Some(ID)), [None, None, None]);
    }
}
