//! PIDs are those that the reader sees: in a PID namespace, those of that namespace.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::{Event, Ran, binary};
use crate::common::{DEADLINE, Events, Leaker, Report, Want, assert_rows, list, wait_until};

/// A process's numbers, from the host's PID namespace inwards.
fn numbers(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The host's PID of the process that made a network namespace, and lives in it.
fn on_the_host(leaker: &Leaker) -> u32 {
    let mut found = None;
    wait_until("the workload is in /proc", || {
        let namespace = format!("net:[{}]", leaker.netns);
        found = fs::read_dir("/proc").unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            let link = fs::read_link(path.join("ns/net")).ok()?;
            let numbers = numbers(pid);
            (link.to_str() == Some(&namespace) && numbers.last() == Some(&leaker.pid))
                .then_some(pid)
        });
        found.is_some()
    });
    found.unwrap()
}

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// A workload that is the first process of a PID namespace with its own /proc, so deep below ours.
fn contained(depth: usize) -> Leaker {
    let mut starter = Command::new("unshare");
    starter.args(["--pid", "--fork", "--mount-proc"]);
    for _ in 1..depth {
        starter.args(["unshare", "--pid", "--fork", "--mount-proc"]);
    }
    let mut leaker = Leaker::start_by(&mut starter);
    assert_eq!(leaker.pid, 1, "as it sees itself");
    leaker.listen("v4");
    leaker
}

/// The tool, in the PID namespace of one process and the mount namespace of another.
fn tool_in(pid_namespace_of: u32, mounts_of: u32) -> Command {
    let mut command = Command::new("nsenter");
    let pid_namespace = format!("--pid=/proc/{pid_namespace_of}/ns/pid");
    command.args([pid_namespace, format!("--mount=/proc/{mounts_of}/ns/mnt")]).arg(binary());
    command
}

fn tool_beside(pid: u32) -> Command {
    tool_in(pid, pid)
}

fn list_by(mut tool: Command, leaker: &Leaker) -> crate::common::Report {
    let netns = leaker.netns.to_string();
    let ran = Ran::of(tool.args(["list", "--json", "--netns", &netns]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    ran.report()
}

#[test]
fn each_namespace_has_its_own_numbers() {
    let mut leaker = contained(2);
    let leak = leaker.leak();
    let listener = leaker.listen("v4");
    let waiting = leaker.plant_one(crate::common::Kind::NeverAccepted);
    let inner = on_the_host(&leaker);
    let middle = parent(inner);
    let numbers = numbers(inner);
    assert_eq!(numbers.len(), numbers_of_ours() + 2, "{numbers:?}");
    let [.., host, between, 1] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!(host, inner);

    let rows = |pid| {
        [Want::held(&leaker, &leak).pid(pid), Want::queued(&leaker, &waiting, listener.fd).pid(pid)]
    };
    assert_rows(&list_by(tool_beside(inner), &leaker), rows(1));
    // The second `unshare` has left the mounts of the first, but not its PID namespace.
    let beside_the_middle = tool_in(middle, parent(middle));
    assert_rows(&list_by(beside_the_middle, &leaker), rows(between));
    assert_rows(&list(&leaker, &[]), rows(host));
}

/// How deep we are ourselves: the tests may run in a container.
fn numbers_of_ours() -> usize {
    numbers(std::process::id()).len()
}

#[test]
fn who_closes_has_the_number_that_it_has_here() {
    let mut leaker = contained(1);
    let inner = on_the_host(&leaker);
    let listener = leaker.listen("v4");
    let tools: [(&dyn Fn() -> Command, _); 2] =
        [(&|| tool_beside(inner), 1), (&|| Command::new(binary()), inner)];
    for (tool, pid) in tools {
        let start = |leaker: &mut Leaker| Events::start_by(tool(), leaker);
        Events::test(&mut leaker, start, |leaker, events| {
            let leak = leaker.leak();
            leaker.close(leak.fd());
            let closed = |event: &Event| event.is("CLOSE_WAIT", "LAST_ACK");
            let seen =
                events.until(&listener, |event| event.remote == leak.remote && closed(event));
            let last = seen.last().unwrap();
            assert_eq!((last.pid, last.comm.as_deref()), (Some(pid), Some("leaker")), "{last:?}");
        });
    }
}

/// Whoever is outside is nobody here: a leak of the host's is not shown with a wrong PID.
#[test]
fn what_others_hold_is_unknown() {
    let mut outside = Leaker::listening();
    let leak = outside.leak();
    let inside = contained(1);
    let netns = outside.netns.to_string();
    // In the leaker's network namespace, as with `docker run --net=host`.
    let mut tool = tool_beside(on_the_host(&inside));
    let ran = outside.inside(|| Ran::of(tool.args(["list", "--json", "--netns", &netns])));
    assert_rows(&ran.report(), [Want::held(&outside, &leak).ownerless("unknown")]);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("docker run --pid=host"), "{ran:?}");
}

/// Without `--netns`, only the network namespaces of processes that can be seen count: what others leak
/// is neither a row nor a reason, and one line says so.
#[test]
fn only_visible_network_namespaces_count() {
    let mut outside = Leaker::listening();
    let leaked_outside = outside.leak();
    let mut inside = contained(1);
    let leak = inside.leak();
    let inner = on_the_host(&inside);
    let list = || Ran::of(tool_beside(inner).args(["list", "--json"]));
    let mut beside = Command::new("nsenter");
    beside
        .arg(format!("--net=/proc/{inner}/ns/net"))
        .arg("nsenter")
        .args(tool_beside(inner).get_args());
    let ran = Ran::of(beside.args(["list", "--json"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_rows(&ran.report(), [Want::held(&inside, &leak)]);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for words in ["only the network namespaces of those inside", "--netns", "docker run --pid=host"]
    {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    // The tool's own network namespace counts, too: there it is a process that can be seen.
    let ran = outside.inside(list);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let leaked_outside = Want::held(&outside, &leaked_outside).ownerless("unknown");
    assert_rows(&ran.report(), [Want::held(&inside, &leak), leaked_outside]);
}

/// Where watch does not see holders, it says why, and only once.
#[test]
fn watch_says_once_why_holders_are_unknown() {
    let mut outside = Leaker::listening();
    let inside = contained(1);
    let netns = outside.netns.to_string();
    let mut tool = tool_beside(on_the_host(&inside));
    tool.args(["watch", "--json", "--interval", "100ms", "--netns", &netns]).stdin(Stdio::null());
    let mut watch = outside.inside(|| Running::start(&mut tool));
    let mut next = || Report::parse(&watch.line(DEADLINE).unwrap());
    assert!(next().sockets.is_empty());
    outside.leak();
    let is_unknown = |report: &Report| report.sockets.iter().any(|row| row.ownership == "unknown");
    wait_until("the leak is seen", || is_unknown(&next()));
    for _ in 0..3 {
        assert!(is_unknown(&next()));
    }
    let said = watch.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("docker run --pid=host"), "{said}");
}

/// Without a /proc that shows us, our own PID namespace is not known, and so no PID can be.
#[test]
fn without_proc_nothing_is_guessed() {
    let inside = contained(1);
    // In its /proc, we have no number.
    let mut tool = tool_in(std::process::id(), on_the_host(&inside));
    let ran = Ran::of(tool.arg("list"));
    assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("mount -t proc proc /proc"), "{ran:?}");
}
