//! Who holds a leak: its program, its user, its unit, its container and its pod.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use caps::Capability;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat, write};
use serde::Deserialize;

use crate::capabilities::with_only;
use crate::common::leaker;
use crate::common::lines::Running;
use crate::common::report::Process;
use crate::common::tool::{Ran, binary, list_text, sockleak};
use crate::common::{
    Cgroups, DEADLINE, Kind, Leaker, Report, Watch, list, not_possible, slow_machine, wait_until,
};
use crate::privilege::{as_ambient_with, held};
use crate::refusals::{NOBODY, Public};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "2f6e4c1a-7d3b-4e5f-8a9b-0c1d2e3f4a5b";

/// A workload with a leak, in these cgroups.
fn leaker_in(cgroups: &mut Cgroups, path: &str) -> Leaker {
    let mut leaker = Leaker::listening();
    leaker.leak();
    cgroups.put(path, leaker.pid);
    leaker
}

#[track_caller]
fn process(leaker: &Leaker, options: &[&str]) -> Process {
    let report = list(leaker, options);
    report.process(leaker.pid).unwrap_or_else(|| panic!("{report:#?}")).clone()
}

/// The path of pods' logs, for `--pod-logs`.
struct Logs(PathBuf);

impl Logs {
    fn new(name: &str, folders: &[&str], links: &[&str]) -> Self {
        let name = format!("sockleak-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        for folder in folders {
            fs::create_dir_all(root.join("pods").join(folder)).unwrap();
        }
        fs::create_dir_all(root.join("containers")).unwrap();
        for link in links {
            fs::write(root.join("containers").join(link), "").unwrap();
        }
        Self(root)
    }

    fn option(&self) -> String {
        self.0.join("pods").to_str().unwrap().to_owned()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_process_is_known_by_its_program_its_parent_and_its_unit() {
    let mut cgroups = Cgroups::unified();
    let before = SystemTime::now() - Duration::from_secs(1);
    let leaker = leaker_in(&mut cgroups, r"shop\x2dweb.service");
    let of = process(&leaker, &[]);
    let exe = fs::canonicalize(leaker::binary()).unwrap();
    assert_eq!(of.exe.as_deref(), exe.to_str());
    let cmdline = of.cmdline.unwrap();
    assert_eq!(cmdline[1..3], ["script", "--netns"], "{cmdline:?}");
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    // A test is a thread, and the parent's name is that of its first one.
    assert_eq!(of.ppid, Some(std::process::id()), "{own}");
    assert!(of.parent_comm.is_some_and(|comm| !comm.is_empty()));
    let started = humantime::parse_rfc3339(&of.started.unwrap()).unwrap();
    assert!(before < started && started < SystemTime::now(), "{started:?}");
    assert_eq!((of.uid, of.user.as_deref()), (Some(0), Some("root")));
    assert_eq!(of.unit.as_deref(), Some("shop-web.service"));
    assert_eq!(of.slice, Some(cgroups.slice.clone()));
    assert_eq!((of.runtime, of.container_id, of.pod_uid), (None, None, None));
    assert_eq!((of.pod, of.namespace, of.container), (None, None, None));
    let text = list_text(&leaker, &[]);
    let line = format!("leaker[{}] in shop-web.service: 1 leaked", leaker.pid);
    assert!(text.text().contains(&line), "{text:?}");
    drop(leaker);
}

#[test]
fn a_container_and_its_pod_are_known_without_an_api() {
    let mut cgroups = Cgroups::unified();
    let slice = format!("kubepods.slice/kubepods-pod{}.slice", POD.replace('-', "_"));
    let leaker = leaker_in(&mut cgroups, &format!("{slice}/cri-containerd-{ID}.scope/nested"));
    let of = process(&leaker, &[]);
    assert_eq!(of.runtime.as_deref(), Some("containerd"));
    assert_eq!((of.container_id.as_deref(), of.pod_uid.as_deref()), (Some(ID), Some(POD)));
    assert_eq!((of.pod, of.namespace, of.container), (None, None, None), "no logs, no names");

    let one = Logs::new("one-container", &[&format!("shop_web-0_{POD}/nginx")], &[]);
    let of = process(&leaker, &["--pod-logs", &one.option()]);
    let names = [of.namespace.as_deref(), of.pod.as_deref(), of.container.as_deref()];
    assert_eq!(names, [Some("shop"), Some("web-0"), Some("nginx")]);

    let folders = ["init", "nginx", "side-car"].map(|name| format!("shop_web-0_{POD}/{name}"));
    let folders = folders.each_ref().map(String::as_str);
    let three =
        Logs::new("three-containers", &folders, &[&format!("web-0_shop_side-car-{ID}.log")]);
    let options = ["--pod-logs", &three.option()];
    assert_eq!(process(&leaker, &options).container.as_deref(), Some("side-car"));
    let text = list_text(&leaker, &options);
    let line = format!("leaker[{}] in shop/web-0/side-car: 1 leaked", leaker.pid);
    assert!(text.text().contains(&line), "{text:?}");

    for (option, value, code) in [
        ("--pod", "shop/web-0", 1),
        ("--container", "side-car", 1),
        ("--container", "0123456789ab", 1),
        ("--not", "pod=shop/web-0", 0),
        ("--not", "container=side-car,pod=shop/web-1", 1),
        ("--pod", "shop/web-1", 2),
        ("--container", "nginx", 2),
    ] {
        let ran = list_text(&leaker, &[&options[..], &[option, value]].concat());
        assert_eq!(ran.code, Some(code), "{option} {value}: {ran:?}");
    }
    // Nothing names the pod: it may be the one that was asked for.
    let ran =
        list_text(&leaker, &["--pod", "shop/web-0", "--json", "--pod-logs", "/no/such/folder"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(ran.report().incomplete[0].reason, "owners-unidentified");
    drop(leaker);
}

#[test]
fn filters_and_groups_know_units_commands_and_users() {
    let mut cgroups = Cgroups::unified();
    let shop = leaker_in(&mut cgroups, "shop.service");
    let mut docker = shop.start_beside_named(b"other");
    docker.listen("v4");
    docker.plant(Kind::EofRead, 2);
    cgroups.put(&format!("docker-{ID}.scope"), docker.pid);
    let exe = fs::canonicalize(leaker::binary()).unwrap();
    let exe = exe.to_str().unwrap();
    let scope = format!("docker-{ID}.scope");
    for (options, rows) in [
        (&["--unit", "shop"][..], 1),
        (&["--unit", "shop.service"], 1),
        (&["--unit", &scope], 2),
        (&["--container", &ID[..12]], 2),
        (&["--exe", exe], 3),
        (&["--exe", "leaker"], 3),
        (&["--cmd", "leaker*--netns"], 1),
        (&["--cmd", "script"], 3),
        (&["--user", "root"], 3),
        (&["--user", "nobody", "--uid", "0"], 3),
        (&["--user", "nobody"], 0),
        (&["--unit", "shop", "--comm", "other"], 0),
        (&["--not", "unit=shop"], 2),
        (&["--not", "exe=leaker,cmd=--netns"], 2),
        (&["--not", "user=root"], 0),
    ] {
        let report = list(&shop, options);
        assert!(report.complete, "{options:?}: {report:#?}");
        assert_eq!(report.sockets.len(), rows, "{options:?}: {report:#?}");
    }
    let groups = |by: &str| -> Vec<(String, u64)> {
        let groups = list(&shop, &["--group-by", by]).groups;
        groups.iter().map(|group| (group.key.as_str().unwrap().to_owned(), group.count)).collect()
    };
    assert_eq!(groups("unit"), [(scope, 2), ("shop.service".to_owned(), 1)]);
    let container = format!("docker {}", &ID[..12]);
    assert_eq!(groups("container"), [(container, 2), ("no container".to_owned(), 1)]);
    assert_eq!(groups("pod"), [("no pod".to_owned(), 3)]);
    assert_eq!(groups("exe"), [(exe.to_owned(), 3)]);
    assert_eq!(groups("user"), [("root".to_owned(), 3)]);
    drop((shop, docker));
}

#[test]
fn a_filter_that_nobody_meets_is_a_usage_error_and_a_note_in_watch() {
    let leaker = Leaker::listening();
    // Another run of these tests has words of its own.
    let words = format!("no such words*anywhere {}", std::process::id());
    for (option, value, word) in [
        ("--unit", "no-such-unit.service", "systemctl"),
        ("--container", "ffffffffffffffffffffffff", "first digits"),
        ("--pod", "no-namespace", "NAMESPACE/NAME"),
        ("--exe", "/no/such/program", "no process runs it"),
        ("--cmd", &words, "no command line"),
        ("--cmd", "*", "words of the command line"),
        ("--user", "no-such-user", "/etc/passwd"),
        ("--not", "user=no-such-user", "/etc/passwd"),
        ("--unit", "", "give"),
    ] {
        let ran = list_text(&leaker, &[option, value]);
        // A host may show the executable of its first process to nobody: that may be the one.
        let refused = fs::read_link("/proc/1/exe").is_err();
        if option == "--exe" && refused {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            not_possible("identity: an executable that nobody runs", "/proc/1/exe is refused");
            continue;
        }
        let unreadable = unreadable_commands();
        if option == "--cmd" && ran.code == Some(0) && !unreadable.is_empty() {
            let why = format!("not all command lines can be read: {unreadable:?}");
            not_possible("identity: a command line that no process has", why);
            continue;
        }
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{option} {value}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.contains(option) && ran.stderr.contains(word), "{ran:?}");
    }
    let watch = Watch::start(&leaker, &["--unit", "no-such-unit"]);
    wait_until("a note names the unit", || watch.process.stderr().contains("'no-such-unit'"));
}

/// The processes whose command lines cannot be read, and why.
fn unreadable_commands() -> Vec<(PathBuf, String)> {
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let failed = all.filter(|path| path.join("stat").exists()).filter_map(|path| {
        let error = fs::read(path.join("cmdline")).err()?;
        Some((path, error.to_string()))
    });
    failed.collect()
}

/// The main class of a Java program comes after its class path, which may have any length.
#[test]
fn a_command_line_is_searched_to_its_end() {
    if slow_machine() {
        let test = "identity::a_command_line_is_searched_to_its_end";
        return not_possible(test, "bash is not there");
    }
    // Another run of these tests has a pattern of its own.
    let main = format!("shop{}.Main", std::process::id());
    let name = format!("java -cp {} {main}", "x".repeat(100_000));
    let script = r#"exec -a "$0" "$@""#;
    let mut leaker = Leaker::start_by(Command::new("bash").args(["-c", script, &name]));
    leaker.listen("v4");
    leaker.leak();
    let patterns =
        [(format!("java*{main}"), 1), (format!("xx {main}"), 1), (format!("x {main}s"), 2)];
    for (pattern, code) in patterns {
        let ran = list_text(&leaker, &["--cmd", &pattern]);
        assert_eq!(ran.code, Some(code), "{pattern}: {ran:?}");
    }
}

/// `sudo sockleak list --cmd WORDS` has the words in two command lines, and neither is meant.
#[test]
fn a_program_that_starts_the_tool_is_not_meant() {
    // Another run of these tests has words of its own.
    let words = format!("no such words as {}", std::process::id());
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary()).args(["list", "--cmd", &words]);
    let mut shell = Command::new("sh");
    let script = format!("'{}' list --cmd '{words}'; exit $?", binary().display());
    shell.args(["-c", &script]);
    for command in [&mut command, &mut shell] {
        let ran = Ran::of(command);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains("no command line has it"), "{ran:?}");
    }
}

#[test]
fn cgroup_v1_names_units_and_containers_too() {
    let mut unified = Cgroups::unified();
    let mut named = match Cgroups::named() {
        Ok(named) => named,
        Err(error) => {
            not_possible("identity::cgroup_v1_names_units_and_containers_too", error);
            return;
        }
    };
    let plain = leaker_in(&mut named, "shop.service");
    let of = process(&plain, &[]);
    assert_eq!((of.unit.as_deref(), of.slice), (Some("shop.service"), Some(named.slice.clone())));
    // A hybrid host whose docker manages v1 alone: v2 is where the daemon is.
    let hybrid = leaker_in(&mut unified, "containerd.service");
    named.put(&format!("docker/{ID}"), hybrid.pid);
    let of = process(&hybrid, &[]);
    assert_eq!((of.unit, of.container_id.as_deref()), (None, Some(ID)));
    assert_eq!(of.runtime.as_deref(), Some("docker"));
    drop((plain, hybrid));
}

/// A cgroup namespace hides what is above its root; what cannot be known is not guessed.
#[test]
fn from_within_a_cgroup_namespace() {
    let mut cgroups = Cgroups::unified();
    let unit = leaker_in(&mut cgroups, "host.slice/shop.service");
    let container = leaker_in(&mut cgroups, &format!("host.slice/docker-{ID}.scope"));
    let own = cgroups.make("host.slice/tool.service");
    let inside = |of: &Leaker| {
        let netns = of.netns.to_string();
        let procs = File::options().write(true).open(own.join("cgroup.procs")).unwrap();
        let mut command = Command::new(binary());
        let enter = move || {
            write(&procs, b"0")?;
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
            Ok(())
        };
        #[allow(
            unsafe_code,
            reason = "what runs between fork() and exec() makes two system calls"
        )]
        unsafe {
            command.pre_exec(enter)
        };
        let report = Ran::of(command.args(["list", "--json", "--netns", &netns])).report();
        report.process(of.pid).unwrap().clone()
    };
    let of = inside(&unit);
    assert_eq!((of.unit, of.slice, of.container_id), (None, None, None));
    let of = inside(&container);
    assert_eq!((of.unit, of.container_id.as_deref()), (None, Some(ID)));
    assert_eq!(of.runtime.as_deref(), Some("docker"));
    drop((unit, container));
}

/// Of a path of more than 4 KiB the kernel tells the beginning, or nothing at all.
#[test]
fn a_cgroup_too_deep_to_be_told_is_not_mistaken() {
    const DEPTH: usize = 17;
    let mut cgroups = Cgroups::unified();
    let leaker = leaker_in(&mut cgroups, "shop.service");
    let name = "d".repeat(250);
    let open = |parent: &dyn AsFd, name: &str, flags| {
        openat(parent.as_fd(), name, flags | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    };
    // The path is too long for one system call, too: each group is entered by its own name.
    let mut groups: Vec<OwnedFd> = vec![File::open(cgroups.make("shop.service")).unwrap().into()];
    for depth in 0..DEPTH {
        mkdirat(&groups[depth], name.as_str(), Mode::S_IRWXU).unwrap();
        groups.push(open(&groups[depth], &name, OFlag::O_DIRECTORY));
    }
    let procs = open(&groups[DEPTH], "cgroup.procs", OFlag::O_WRONLY);
    write(&procs, leaker.pid.to_string().as_bytes()).unwrap();
    let of = process(&leaker, &[]);
    let in_unit = list_text(&leaker, &["--unit", "shop.service"]);
    drop(leaker);
    for parent in groups[..DEPTH].iter().rev() {
        wait_until("the group is empty", || {
            unlinkat(parent, name.as_str(), UnlinkatFlags::RemoveDir).is_ok()
        });
    }
    assert!(of.exe.is_some() && of.cmdline.is_some(), "the rest is known");
    match of.unit {
        Some(unit) => assert_eq!((&*unit, in_unit.code), ("shop.service", Some(1))),
        None => assert_eq!(in_unit.code, Some(4), "it may be the one: {in_unit:?}"),
    }
}

/// The table in docs/privileges.md: the first line of what needs a capability, and what does not.
#[test]
fn executables_of_others_take_a_capability_and_the_rest_takes_none() {
    let tool = Public::new("identity");
    let mut cgroups = Cgroups::unified();
    let leaker = leaker_in(&mut cgroups, "shop.service");
    let netns = leaker.netns.to_string();
    let run = |more: &[Capability], options: &[&str]| {
        let mut command = Command::new(&tool.0);
        command.args(["list", "--json", "--netns", &netns]).args(options).uid(NOBODY).gid(NOBODY);
        as_ambient_with(more, || Ran::of(&mut command))
    };
    let of = |ran: &Ran| ran.report().process(leaker.pid).unwrap().clone();
    let without = of(&run(&[], &[]));
    let with = of(&run(&[Capability::CAP_SYS_PTRACE], &[]));
    assert_eq!(without.exe, None);
    assert_eq!(with.exe.as_deref(), fs::canonicalize(leaker::binary()).unwrap().to_str());
    for of in [without, with] {
        assert!(of.cmdline.is_some() && of.started.is_some() && of.parent_comm.is_some());
        assert_eq!((of.user.as_deref(), of.unit.as_deref()), (Some("root"), Some("shop.service")));
    }
    assert_eq!(run(&[], &["--unit", "shop", "--cmd", "script", "--user", "root"]).code, Some(1));
    assert_eq!(run(&[Capability::CAP_SYS_PTRACE], &["--exe", "leaker"]).code, Some(1));
    let doubtful = run(&[], &["--exe", "leaker"]);
    assert_eq!(doubtful.code, Some(4), "{doubtful:?}");
    let report = doubtful.report();
    assert_eq!((report.sockets.len(), &*report.incomplete[0].reason), (0, "owners-unidentified"));
    // Nobody can tell whether that leak is known: it counts, and the answer may be wrong.
    let doubtful = run(&[], &["--not", "exe=leaker"]);
    assert_eq!((doubtful.code, doubtful.report().sockets.len()), (Some(4), 1), "{doubtful:?}");
    assert_eq!(run(&[Capability::CAP_SYS_PTRACE], &["--not", "exe=leaker"]).code, Some(0));
    assert_eq!(
        run(&[], &["--not", "exe=leaker,unit=other"]).code,
        Some(1),
        "it is in another unit"
    );
    drop(leaker);
}

/// root is no exception: without CAP_SYS_PTRACE it may not look at processes that have more than it.
#[test]
fn watch_keeps_one_capability_where_executables_are_asked_for() {
    let mut cgroups = Cgroups::unified();
    let mut leaker = leaker_in(&mut cgroups, "shop.service");
    let mut plain = Watch::start(&leaker, &[]);
    let of = plain.next().process(leaker.pid).unwrap().clone();
    assert_eq!((of.exe, of.unit.as_deref()), (None, Some("shop.service")));
    assert!(of.cmdline.is_some() && of.started.is_some());
    assert!(!held(plain.process.pid()).contains("CAP_SYS_PTRACE"));

    let mut asking = Watch::start(&leaker, &["--exe", "leaker"]);
    let rest = held(asking.process.pid());
    assert!(rest.contains("CAP_SYS_PTRACE") && rest.len() <= 2, "{rest:?}");
    assert_eq!(asking.next().sockets.len(), 1);
    // A process that comes later is known as well.
    let mut late = leaker.start_beside_named(b"late");
    late.listen("v4");
    late.leak();
    leaker.leak();
    asking.wait_for("three leaks", |report| report.complete && report.sockets.len() == 3);
    let limited = with_only(&[Capability::CAP_BPF, Capability::CAP_PERFMON], || {
        let netns = leaker.netns.to_string();
        sockleak(&["list", "--json", "--netns", &netns])
    });
    assert_eq!(limited.report().process(leaker.pid).unwrap().exe, None);
    drop((leaker, late));
}

#[derive(Deserialize)]
struct Shifty {
    pid: u32,
    size: usize,
}

fn hostile(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(program)
}

#[test]
fn arguments_that_change_while_they_are_read_do_no_harm() {
    let test = "identity::arguments_that_change_while_they_are_read_do_no_harm";
    if slow_machine() || !hostile("shifty.py").exists() {
        return not_possible(test, "the program is not there");
    }
    let place = Leaker::start();
    let mut command = Command::new("python3");
    command.arg("-B").arg(hostile("shifty.py")).args(vec!["x".repeat(100_000); 19]);
    let mut process = place.inside(|| Running::start(command.stdin(Stdio::piped())));
    let line = process.line(DEADLINE).unwrap_or_else(|| panic!("{}", process.stderr()));
    let Shifty { pid, size } = serde_json::from_slice(&line).unwrap();
    assert!(size > 1_900_000, "{size}");
    for _ in 0..10 {
        let netns = place.netns.to_string();
        let ran = sockleak(&["list", "--json", "--netns", &netns]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!ran.text().trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'));
        assert!(ran.stdout.len() < 100_000, "{} bytes", ran.stdout.len());
        let report = Report::parse(&ran.stdout);
        let cmdline = report.process(pid).unwrap().cmdline.clone().unwrap_or_default();
        assert!(cmdline.iter().map(|one| one.chars().count()).sum::<usize>() <= 16_385);
        let text = list_text(&place, &["--cmd", "reversed"]);
        assert!(matches!(text.code, Some(0 | 1 | 2 | 4)), "{text:?}");
    }
}

#[test]
fn a_deleted_program_and_processes_that_end_do_no_harm() {
    let copy = std::env::temp_dir().join(format!("sockleak-gone-\u{1b}[2J-{}", std::process::id()));
    let script = r#"cp "$1" "$0" && shift && exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(&copy);
    let mut leaker = Leaker::start_by(&mut command);
    leaker.listen("v4");
    leaker.leak();
    fs::remove_file(&copy).unwrap();
    let of = process(&leaker, &[]);
    let wanted = format!("{} (deleted)", copy.to_str().unwrap().replace('\u{1b}', "\u{fffd}"));
    assert_eq!(of.exe, Some(wanted));
    assert_eq!(list(&leaker, &["--exe", copy.to_str().unwrap()]).sockets.len(), 1);
    // Children that hold the leak, too, and end while they are looked at.
    let netns = leaker.netns.to_string();
    for after in [0, 10, 20, 40, 80] {
        let child = leaker.fork();
        let list = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(after));
                kill(Pid::from_raw(i32::try_from(child).unwrap()), Signal::SIGKILL).unwrap();
            });
            sockleak(&["list", "--json", "--netns", &netns])
        });
        assert_eq!(list.code, Some(1), "{list:?}");
        for of in list.report().processes {
            assert!([leaker.pid, child].contains(&of.pid), "{of:#?}");
            assert!(of.ppid.is_none_or(|ppid| of.pid != child || ppid == leaker.pid), "{of:#?}");
        }
    }
}
