//! The image, as its users run it: two capabilities, no new privileges, a read-only root.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::container::Container;
use crate::common::tool::binary;
use crate::common::{not_possible, wait_until};
use crate::metrics::assert_accepted;
use crate::web::{samples, sum};

/// The capabilities, and all that the container is denied.
const RIGHTS: [&str; 11] = [
    "--cap-drop",
    "all",
    "--cap-add",
    "BPF",
    "--cap-add",
    "PERFMON",
    "--security-opt",
    "no-new-privileges",
    "--read-only",
    "--pid",
    "host",
];

#[test]
fn leaks_of_other_containers_are_named() {
    let name = "image::leaks_of_other_containers_are_named";
    let leaking = match Container::start() {
        Ok(container) => container,
        Err(why) => return not_possible(name, why),
    };
    let namespace = format!("/proc/{}/ns/net", leaking.pid());
    let netns = sockleak::host::netns::inode(namespace.as_ref()).unwrap().to_string();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let folder = leaking.folder.join("image");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(binary(), folder.join("sockleak")).unwrap();
    fs::copy(deploy.join("container/Dockerfile"), folder.join("Dockerfile")).unwrap();
    let build = ["build", "--quiet", "--tag", "sockleak-test", folder.to_str().unwrap()];
    let built = leaking.podman().args(build).output().unwrap();
    assert!(built.status.success(), "{built:?}");

    let profile = format!("seccomp={}", deploy.join("seccomp/sockleak.json").display());
    let run = |arguments: &[&str]| -> Output {
        let mut command = leaking.podman();
        command.args(["run", "--rm", "--network", "none"]).args(Container::LIMITS).args(RIGHTS);
        command.args(["--security-opt", &profile]);
        // The image is made for the static binary; that of a test may need libraries.
        for folder in ["/usr", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists())
        {
            command.args(["--volume", &format!("{folder}:{folder}:ro")]);
        }
        command.arg("sockleak-test").args(arguments).output().unwrap()
    };
    let list = ["list", "--format", "prometheus", "--netns", &netns];
    let leaks = || samples(&String::from_utf8(run(&list).stdout).unwrap());
    wait_until("the client has left", || sum(&leaks(), "sockleak_leaked_sockets", "") > 0.0);
    let output = run(&list);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert_accepted(&text);
    let container = format!("container_id=\"{}\"", leaking.id);
    assert_eq!(sum(&samples(&text), "sockleak_process_leaked_sockets", &container), 1.0, "{text}");
    let check = run(&["check", "--netns", &netns, "-w", "0", "--min-age", "0s"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
}
