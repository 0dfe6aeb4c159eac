//! Processes by the service that they are of, and groups by who they are.

use super::*;
use crate::host::identity::{Identity, Known};
use crate::report::group::{GroupBy, Grouped};
use crate::report::row::Oldest;
use crate::report::service::Service;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn in_unit(unit: Option<&str>) -> Identity {
    let unit = unit.map(str::to_owned);
    Identity { unit, known: Known::ALL, ..Identity::UNKNOWN }
}

/// A master and two workers of a service that hold the same leak, one of them another; two sessions; a
/// container; and somebody of whom nothing is known.
fn scan() -> Vec<Record> {
    let all = sock(1, 90);
    let mut scan: Vec<_> = (7..=12).map(|pid| process(pid, "a")).collect();
    scan.extend([7, 8, 9].map(|pid| held(pid, 3, &all)));
    scan.push(held(9, 4, &sock(2, 80)));
    scan.extend([(10, 3), (11, 4), (12, 5)].map(|(pid, at)| held(pid, 3, &sock(at, 60))));
    scan.push(Record::Process(13, Process { comm: "b".into(), ..running() }));
    scan.push(held(13, 3, &sock(6, 50)));
    scan
}

#[test]
fn the_workers_of_a_service_are_one_and_count_a_socket_once() {
    let (shop, session) = (in_unit(Some("shop.service")), in_unit(Some("session-3.scope")));
    let docker = Identity {
        runtime: Some("docker"),
        container_id: Some(ID.to_owned()),
        ..in_unit(Some("docker.scope"))
    };
    let table = table(&[], scan());
    let mut report = report(&table);
    for process in &mut report.processes {
        match process.pid {
            7..=9 => process.identity = &shop,
            10 | 11 => process.identity = &session,
            12 => process.identity = &docker,
            _ => {}
        }
    }
    let services = Service::all(&report);
    let found: Vec<_> = services
        .iter()
        .map(|one| {
            (one.processes[0].identity.place(), one.processes.len(), one.rows.held, one.rows.all())
        })
        .collect();
    let one = |place: &str, processes, rows| (Some(place.to_owned()), processes, rows, rows);
    assert_eq!(found[0], one("shop.service", 3, 2));
    assert!(found.contains(&one("docker 0123456789ab", 1, 1)), "{found:?}");
    let alone = found.iter().filter(|found| **found == one("session-3.scope", 1, 1)).count();
    assert_eq!((alone, found.len()), (2, 5), "sessions are no services: {found:?}");
    assert_eq!(services[0].oldest, Oldest { lasting: 90 * SECOND, at_least: true });
    assert_eq!(services[0].processes[0].pid, 9, "the worst first");

    let groups = |by| -> Vec<_> {
        let groups = Grouped::build(&report, by).groups;
        groups.into_iter().map(|group| (group.key, group.count)).collect()
    };
    let key = |key: &str, count| (key.to_owned(), count);
    let units = groups(GroupBy::Unit);
    for wanted in [
        key("shop.service", 2),
        key("session-3.scope", 2),
        key("docker.scope", 1),
        key("unknown", 1),
    ] {
        assert!(units.contains(&wanted), "{units:?}");
    }
    let containers = groups(GroupBy::Container);
    assert!(containers.contains(&key("no container", 4)), "{containers:?}");
    assert!(containers.contains(&key("docker 0123456789ab", 1)), "{containers:?}");
    assert_eq!(groups(GroupBy::User), [key("0", 6)], "a number where nobody knows the name");
}

#[test]
fn a_container_is_named_as_far_as_it_is_known() {
    let of =
        |runtime, pod_uid: Option<&str>, pod: Option<&str>, container: Option<&str>| Identity {
            runtime,
            container_id: Some(ID.to_owned()),
            pod_uid: pod_uid.map(str::to_owned),
            namespace: pod.map(|_| "shop".to_owned()),
            pod: pod.map(str::to_owned),
            container: container.map(str::to_owned),
            ..Identity::UNKNOWN
        };
    for (identity, name) in [
        (of(Some("docker"), None, None, None), "docker 0123456789ab"),
        (of(None, None, None, None), "container 0123456789ab"),
        (of(Some("cri-o"), Some("uid"), Some("web-0"), Some("nginx")), "shop/web-0/nginx"),
        (of(None, Some("uid"), Some("web-0"), None), "shop/web-0/0123456789ab"),
        (of(None, Some("uid"), None, None), "pod uid/0123456789ab"),
    ] {
        assert_eq!(identity.place().as_deref(), Some(name));
    }
    assert_eq!(in_unit(Some("a.service")).place().as_deref(), Some("a.service"));
    assert_eq!(in_unit(None).place(), None);
}

/// Where it cannot be known who holds a leak, it may be theirs.
#[test]
fn a_holder_of_whom_nothing_is_known_makes_the_answer_incomplete() {
    let table = table(&[], scan());
    let shop = in_unit(Some("shop.service"));
    let asking = |by: &str| {
        let mut filter = Filter::default();
        filter.whose.unit.push("shop".to_owned());
        match by {
            "comm" => filter.comm.push("a".to_owned()),
            "not" => filter = Filter { not: vec![filter], ..Filter::default() },
            _ => {}
        }
        let other = in_unit(None);
        let who = |pid: Pid| match pid {
            7..=9 => Some(&shop),
            13 => None,
            _ => Some(&other),
        };
        filter.set_identities(&(7..=13).map(|pid| (pid, who(pid))).collect::<Vec<_>>(), &|_| None);
        let report = report_of(&table, &Query { filter, ..query() });
        (places(&report), report.incomplete)
    };
    assert_eq!(
        asking("unit"),
        (vec![1, 1, 1, 2], vec![Incomplete::OwnersUnidentified { missing: 1, perhaps_known: 0 }])
    );
    assert_eq!(asking("comm"), (vec![1, 1, 1, 2], vec![]), "it has another name");
    // A leak that may be a known one is shown, and the answer says that it may be.
    let may_be_wrong = Incomplete::OwnersUnidentified { missing: 0, perhaps_known: 1 };
    assert_eq!(asking("not"), (vec![3, 4, 5, 6], vec![may_be_wrong]));
}
