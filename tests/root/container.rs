//! A leak in a real container: podman with runc, where the machine has them.

use crate::common::container::Container;
use crate::common::tool::{list_in, sockleak};
use crate::common::{not_possible, wait_until};

#[test]
fn a_leak_in_a_real_container_names_it() {
    let container = match Container::start() {
        Ok(container) => container,
        Err(why) => {
            return not_possible("container::a_leak_in_a_real_container_names_it", why);
        }
    };
    let namespace = format!("/proc/{}/ns/net", container.pid());
    let netns = sockleak::host::netns::inode(namespace.as_ref()).unwrap();
    let report = || list_in(netns.into(), &[]);
    wait_until("the client has left", || !report().sockets.is_empty());
    let report = report();
    let of = report.process(report.only_row().pid.unwrap()).unwrap();
    assert_eq!(of.container_id.as_ref(), Some(&container.id));
    assert_eq!((of.runtime.as_deref(), of.pod_uid.as_ref()), (Some("podman"), None));
    assert_eq!(of.exe.as_deref(), Some("/bin/busybox"), "as the container has it");
    assert_eq!(of.cmdline.as_deref(), Some(&["sleep", "1000"].map(str::to_owned)[..]));
    let short = &container.id[..12];
    // Of a process elsewhere nobody may be able to tell its container, and it may have lost a socket.
    let text = sockleak(&["list", "--container", short, "--netns", &netns.to_string()]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(text.text().contains(&format!("in podman {short}: 1 leaked")), "{text:?}");
}
