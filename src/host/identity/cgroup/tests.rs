//! Paths as real hosts have them, and what each says.

use proptest::prelude::*;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const POD: &str = "2f6e4c1a-7d3b-4e5f-8a9b-0c1d2e3f4a5b";

/// `ID`, `OTHER`, `POD` and `P_O_D` (the same, in a slice) stand for themselves.
fn path(text: &str) -> String {
    text.replace("OTHER", OTHER)
        .replace("P_O_D", &POD.replace('-', "_"))
        .replace("POD", POD)
        .replace("ID", ID)
}

/// Facts that a file states: unit, slice, runtime, container, pod; `-` where it is unknown.
fn of(file: &str) -> String {
    let Cgroup { unit, slice, runtime, container_id, pod_uid, .. } = Cgroup::parse(&path(file));
    let container_id = container_id.map(|id| id.replace(OTHER, "OTHER").replace(ID, "ID"));
    let named = |text: Option<String>| match text {
        Some(text) => text.replace(OTHER, "OTHER").replace(ID, "ID"),
        None => "-".to_owned(),
    };
    let pod_uid = pod_uid.map(|uid| if uid == POD { "POD".to_owned() } else { uid });
    let slice = slice.map(|slice| slice.replace(&POD.replace('-', "_"), "P_O_D"));
    let runtime = runtime.map(str::to_owned);
    [unit, slice, runtime, container_id, pod_uid].map(named).join(" ")
}

#[test]
fn systemd() {
    for (file, wanted) in [
        ("0::/system.slice/nginx.service", "nginx.service system.slice - - -"),
        ("0::/init.scope", "init.scope - - - -"),
        (
            "0::/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service system-getty.slice - - -",
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope user-1000.slice - - -"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-node.service",
            "app-node.service app.slice - - -",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
            "init.scope user-1000.slice - - -",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service",
            "user@1000.service user-1000.slice - - -",
        ),
        // Escaped by systemd: a hyphen in an instance, and a name that the kernel keeps for itself.
        (
            r"0::/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-1\x2d2.service",
            "systemd-fsck@dev-disk-by-uuid-1-2.service system-systemd-fsck.slice - - -",
        ),
        ("0::/system.slice/_cpu.service", "cpu.service system.slice - - -"),
        ("0::/system.slice/__own.service", "_own.service system.slice - - -"),
        // A service that is delegated its cgroup makes its own below.
        ("0::/system.slice/shop.service/workers/3", "shop.service system.slice - - -"),
        ("0::/system.slice/shop.service (deleted)", "shop.service system.slice - - -"),
        // No slice, and no unit.
        ("0::/", "- - - - -"),
        ("0::/workers", "- - - - -"),
        ("0::/workers/shop.service", "- - - - -"),
        ("0::/system.slice", "- system.slice - - -"),
        ("0::/system.slice/.service", "- system.slice - - -"),
        ("0::/.slice", "- - - - -"),
        (r"0::/system.slice/a\x2.service", r"a\x2.service system.slice - - -"),
        (r"0::/system.slice/a\x+2\xzz.service", r"a\x+2\xzz.service system.slice - - -"),
    ] {
        assert_eq!(of(file), wanted, "{file}");
    }
}

#[test]
fn units_of_users_are_told_apart_by_their_managers() {
    let manager = |path: &str| Cgroup::parse(path).manager;
    let of_user = "0::/user.slice/user-1000.slice/user@1000.service";
    let app = format!("{of_user}/app.slice/shop.service");
    assert_eq!(manager(&app).as_deref(), Some("user@1000.service"));
    assert_eq!(manager(of_user), None, "the manager itself");
    assert_eq!(manager("0::/system.slice/shop.service"), None);
}

#[test]
fn containers() {
    for (file, wanted) in [
        ("0::/system.slice/docker-ID.scope", "docker-ID.scope system.slice docker ID -"),
        ("0::/docker/ID", "- - docker ID -"),
        ("0::/docker/ID/init.scope", "- - docker ID -"),
        (
            "0::/system.slice/docker-ID.scope/nested/cgroup",
            "docker-ID.scope system.slice docker ID -",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            "docker-ID.scope user.slice docker ID -",
        ),
        // docker in docker: the inner one
        ("0::/docker/ID/docker/OTHER", "- - docker OTHER -"),
        (
            "0::/system.slice/docker-ID.scope/docker/OTHER",
            "docker-ID.scope system.slice docker OTHER -",
        ),
        ("0::/machine.slice/libpod-ID.scope", "libpod-ID.scope machine.slice podman ID -"),
        (
            "0::/machine.slice/libpod-ID.scope/container",
            "libpod-ID.scope machine.slice podman ID -",
        ),
        ("0::/libpod_parent/libpod-ID", "- - podman ID -"),
        ("0::/libpod_parent/libpod_pod_OTHER/libpod-ID", "- - podman ID -"),
        (
            "0::/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope/container",
            "libpod-ID.scope machine-libpod_pod_OTHER.slice podman ID -",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "libpod-ID.scope user.slice podman ID -",
        ),
        // podman under a unit of its own (quadlet)
        ("0::/system.slice/web.service/libpod-payload-ID", "web.service system.slice podman ID -"),
        // The monitor of a container is none of it.
        ("0::/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope machine.slice - - -"),
        ("0::/system.slice/crio-conmon-ID.scope", "crio-conmon-ID.scope system.slice - - -"),
        ("0::/system.slice/nerdctl-ID.scope", "nerdctl-ID.scope system.slice containerd ID -"),
        // Amazon ECS, and GitHub's runners (--cgroup-parent): nothing tells the runtime.
        ("0::/ecs/0123456789abcdef0123456789abcdef/ID", "- - - ID -"),
        ("0::/actions_job/ID", "- - - ID -"),
        ("0::/default/ID", "- - - ID -"),
        // Not an ID: capitals, and one digit short.
        (
            "0::/docker/0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            "- - - - -",
        ),
        ("0::/docker/123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "- - - - -"),
        ("0::/docker/buildx", "- - - - -"),
    ] {
        assert_eq!(of(file), wanted, "{file}");
    }
}

#[test]
fn pods() {
    for (file, wanted) in [
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podP_O_D.slice/cri-containerd-ID.scope",
            "cri-containerd-ID.scope kubepods-burstable-podP_O_D.slice containerd ID POD",
        ),
        (
            "0::/kubepods.slice/kubepods-podP_O_D.slice/cri-containerd-ID.scope",
            "cri-containerd-ID.scope kubepods-podP_O_D.slice containerd ID POD",
        ),
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_O_D.slice/crio-ID.scope",
            "crio-ID.scope kubepods-besteffort-podP_O_D.slice cri-o ID POD",
        ),
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_O_D.slice/crio-ID.scope/container",
            "crio-ID.scope kubepods-besteffort-podP_O_D.slice cri-o ID POD",
        ),
        (
            "0::/kubepods.slice/kubepods-podP_O_D.slice/docker-ID.scope",
            "docker-ID.scope kubepods-podP_O_D.slice docker ID POD",
        ),
        // the cgroupfs driver, for guaranteed, burstable and best-effort pods
        ("0::/kubepods/podPOD/ID", "- - - ID POD"),
        ("0::/kubepods/burstable/podPOD/ID", "- - - ID POD"),
        ("0::/kubepods/besteffort/podPOD/ID/workers", "- - - ID POD"),
        ("0::/kubepods/burstable/podPOD/crio-ID", "- - cri-o ID POD"),
        // the pod itself, as a sandbox without a process of its own has it
        ("0::/kubepods/burstable/podPOD", "- - - - POD"),
        // a pod from a file on the node
        (
            "0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/ID",
            "- - - ID 0123456789abcdef0123456789abcdef",
        ),
        // a kubelet with the systemd driver, a containerd without
        (
            "0::/system.slice/containerd.service/kubepods-burstable-podP_O_D.slice:cri-containerd:ID",
            "containerd.service system.slice containerd ID POD",
        ),
        // a node that is a container itself (kind, k3d)
        (
            "0::/docker/OTHER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podP_O_D.slice/cri-containerd-ID.scope",
            "- - containerd ID POD",
        ),
        // a container within a container of a pod, and a pod below a container
        ("0::/kubepods/burstable/podPOD/ID/docker/OTHER", "- - docker OTHER POD"),
        ("0::/docker/ID/kubepods/burstable/podPOD", "- - docker ID -"),
        ("0::/system.slice/pod.service", "pod.service system.slice - - -"),
        ("0::/podlife", "- - - - -"),
        ("0::/kubepods/podnot-a-uid-but-as-long-as-one-is-here1/ID", "- - - ID -"),
    ] {
        assert_eq!(of(file), wanted, "{file}");
    }
}

/// A process in a private cgroup namespace sees itself at the root, and others beside it.
#[test]
fn from_within_a_cgroup_namespace() {
    for (file, wanted) in [
        ("0::/..", "- - - - -"),
        ("0::/../..", "- - - - -"),
        ("0::/../cri-containerd-ID.scope", "- - containerd ID -"),
        (
            "0::/../../kubepods-podP_O_D.slice/cri-containerd-ID.scope",
            "cri-containerd-ID.scope kubepods-podP_O_D.slice containerd ID POD",
        ),
        ("0::/../../podPOD/ID", "- - - ID POD"),
        ("0::/../../system.slice/nginx.service", "nginx.service system.slice - - -"),
        // Of which slice, or of whose making, nobody can tell.
        ("0::/../nginx.service", "- - - - -"),
    ] {
        assert_eq!(of(file), wanted, "{file}");
    }
}

#[test]
fn of_several_hierarchies_the_one_that_names_a_container_is_believed() {
    // v1 on CentOS 7
    let v1 = "11:cpuset:/\n4:cpu,cpuacct:/system.slice/nginx.service\n\
              1:name=systemd:/system.slice/nginx.service\n";
    assert_eq!(of(v1), "nginx.service system.slice - - -");
    // hybrid, as on Ubuntu 20.04, with docker's cgroupfs driver: v2 is where containerd left it
    let hybrid = "12:pids:/docker/ID\n1:name=systemd:/docker/ID\n\
                  0::/system.slice/containerd.service\n";
    assert_eq!(of(hybrid), "- - docker ID -");
    // v1 without systemd, as on Alpine
    let alpine = "9:pids:/docker/ID\n8:memory:/docker/ID\n";
    assert_eq!(of(alpine), "- - docker ID -");
    // v1, Kubernetes
    let kube =
        "9:memory:/kubepods/burstable/podPOD/ID\n1:name=systemd:/kubepods/burstable/podPOD/ID\n";
    assert_eq!(of(kube), "- - - ID POD");
    // hybrid without a container: v2 and systemd's own hierarchy say the same
    let plain =
        "5:memory:/elsewhere\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n";
    assert_eq!(of(plain), "a.service system.slice - - -");
    // systemd's hierarchy alone
    let legacy = "5:memory:/\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n0::/\n";
    assert_eq!(of(legacy), "session-1.scope user-0.slice - - -");
    // a path with a colon
    assert_eq!(of("0::/system.slice/a:b.service"), "a:b.service system.slice - - -");
    for nothing in ["", "\n", "0::", "0:", "nothing", "::::"] {
        assert_eq!(of(nothing), "- - - - -", "{nothing:?}");
    }
}

proptest! {
    /// No text makes it panic, and what it finds is of the promised shape.
    #[test]
    fn anything_is_read(text in r"(0::|[0-9]{1,2}:(name=systemd|cpu,cpuacct):)?(/(\.\.|docker|kubepods|pod[0-9a-f_-]{32,36}|[a-z-]{0,9}[0-9a-f]{63,65}|user@1\.service|.{0,12})(\.slice|\.scope|\.service)?){0,9}( \(deleted\))?\n?") {
        let Cgroup { unit, container_id, pod_uid, .. } = Cgroup::parse(&text);
        prop_assert!(container_id.is_none_or(|id| is_id(&id)));
        prop_assert!(pod_uid.is_none_or(|uid| is_uid(&uid)));
        prop_assert!(unit.is_none_or(|unit| unit.len() >= ".scope".len()));
    }

    #[test]
    fn any_text_is_read(text: String) {
        let _ = Cgroup::parse(&text);
    }
}
