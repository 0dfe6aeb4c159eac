//! `deploy/`, as far as its own tools can judge it here. docs/fleet.md names what was tried elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: see `make test`"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output
}

/// Exposure: below 2 of 10.
#[test]
fn units_are_hardened() {
    for unit in ["sockleak.service", "sockleak-textfile.service"] {
        let path = deploy("systemd").join(unit);
        let path = path.to_str().unwrap();
        run(
            "systemd-analyze",
            &["security", "--offline=true", "--threshold=19", "--no-pager", path],
        );
    }
}

#[test]
fn units_are_sound() {
    let units = ["sockleak.service", "sockleak.socket", "sockleak-textfile.service"];
    for unit in units.into_iter().chain(["sockleak-textfile.timer"]) {
        let text = std::fs::read_to_string(deploy("systemd").join(unit)).unwrap();
        // The program need not be installed here, nor its manual.
        let folder = std::env::temp_dir().join(format!("sockleak-units-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let copy = folder.join(unit);
        let text = text.replace("/usr/bin/sockleak", "/bin/true");
        let lines = text.lines().filter(|line| !line.starts_with("Documentation="));
        std::fs::write(&copy, lines.collect::<Vec<_>>().join("\n")).unwrap();
        for other in units {
            let other = folder.join(other);
            if !other.exists() {
                std::fs::copy(deploy("systemd").join(other.file_name().unwrap()), &other).unwrap();
            }
        }
        let output = run("systemd-analyze", &["verify", "--man=no", copy.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        let own: Vec<_> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(own.is_empty(), "{own:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn alert_rules_do_what_they_say() {
    let path = |name: &str| deploy("prometheus").join(name).to_str().unwrap().to_owned();
    run("promtool", &["check", "rules", &path("sockleak.rules.yml")]);
    run("promtool", &["test", "rules", &path("sockleak.rules.test.yml")]);
    // Descriptions have commands: a process that is called '; reboot # is to be in none.
    let rules = std::fs::read_to_string(path("sockleak.rules.yml")).unwrap();
    let mut commands = rules.lines().filter(|line| line.contains("sockleak list"));
    assert!(commands.all(|line| !line.contains("{{")), "{rules}");
}

/// Strictly: a field that Kubernetes does not know is an error.
#[test]
fn kubernetes_takes_what_kustomize_makes() {
    // `make test` puts it there: target/<profile>/deps/NAME is this test.
    let test = std::env::current_exe().unwrap();
    let validate = test.ancestors().nth(3).unwrap().join("venv/bin/kubernetes-validate");
    let validate = validate.to_str().unwrap();
    let folder = std::env::temp_dir().join(format!("sockleak-kustomize-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for overlay in ["base", "seccomp"] {
        let path = deploy("kubernetes").join(overlay);
        let made = run("kubectl", &["kustomize", path.to_str().unwrap()]).stdout;
        let file = folder.join(format!("{overlay}.yaml"));
        std::fs::write(&file, &made).unwrap();
        run(validate, &["--strict", "--quiet", file.to_str().unwrap()]);
        let wrong = String::from_utf8(made).unwrap().replace("hostPID", "hostPid");
        std::fs::write(&file, wrong).unwrap();
        let refusal = Command::new(validate).args(["--strict", file.to_str().unwrap()]).output();
        assert!(!refusal.unwrap().status.success(), "it does not look");
    }
    // The operator's own resource is in no schema: what stands beside it is.
    let made = run("kubectl", &["kustomize", deploy("kubernetes/podmonitor").to_str().unwrap()]);
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(made.contains("kind: PodMonitor") && made.contains("honorLabels: true"), "{made}");
    // The operator names a job after the PodMonitor and its namespace, unless it is told a label.
    let rules = std::fs::read_to_string(deploy("prometheus/sockleak.rules.yml")).unwrap();
    assert!(rules.contains("up{job=\"sockleak\"} == 0"), "{rules}");
    assert!(made.contains("jobLabel: app.kubernetes.io/name"), "{made}");
    assert!(made.contains("app.kubernetes.io/name: sockleak"), "{made}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The seccomp profile, in the form of Docker, podman and the kubelet: an allowlist that lets bpf() pass.
#[test]
fn the_seccomp_profile_is_an_allowlist() {
    let profile = std::fs::read_to_string(deploy("seccomp/sockleak.json")).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["action"] == "SCMP_ACT_ALLOW"));
    let names = rules.iter().flat_map(|rule| rule["names"].as_array().unwrap());
    let names: Vec<_> = names.map(|name| name.as_str().unwrap()).collect();
    assert!(names.contains(&"bpf"));
    for dangerous in
        ["ptrace", "mount", "setns", "unshare", "execveat", "init_module", "kexec_load"]
    {
        assert!(!names.contains(&dangerous), "{dangerous}");
    }
}
