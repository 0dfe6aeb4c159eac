//! Hosts that lack one thing each.

use super::super::facts::Files;
use super::*;
use crate::host::privilege::FEATURES;

/// A host where everything is as it should be.
fn fit() -> Facts {
    Facts {
        release: "6.18.0".into(),
        machine: "x86_64".into(),
        types: Ok(Types {
            from_file: false,
            tracepoint: true,
            task_iterators: true,
            ring_buffer: true,
            kernel: KernelFacts::all() - KernelFacts::TABLE_APART,
            counts_locked_memory: false,
            mptcp: true,
        }),
        missing: FEATURES.map(|feature| (feature, Missing::default())).into(),
        seccomp: Some(false),
        in_user_namespace: false,
        tick: Duration::from_millis(4),
        pid: 77,
        files: Files {
            mounted: vec!["proc".into(), "securityfs".into(), "tracefs".into()],
            lockdown: Some("none".into()),
            unprivileged_bpf_disabled: Some(2),
            pid_namespace: Some(pidns::INITIAL),
            proc_self: Some(77),
            mptcp_enabled: Some(true),
            locked_memory: Some(8 << 20),
        },
    }
}

/// The checks that are not ok.
fn complaints(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Status)> {
    let mut facts = fit();
    change(&mut facts);
    let checks = checks(&facts);
    for check in &checks {
        let ok = check.status == Status::Ok;
        assert_eq!(check.remedy.is_none(), ok, "a remedy where one is needed: {check:?}");
        assert!(!check.detail.is_empty() && !check.detail.contains('\n'));
    }
    let bad = checks.iter().filter(|check| check.status != Status::Ok);
    bad.map(|check| (check.name, check.status)).collect()
}

fn types(facts: &mut Facts) -> &mut Types {
    facts.types.as_mut().unwrap()
}

#[test]
fn a_fit_host_has_no_complaints() {
    assert_eq!(complaints(|_| {}), []);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = checks(&fit()).iter().map(|check| check.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn each_thing_is_missed() {
    use Status::{Limited, Missing};
    assert_eq!(complaints(|f| f.types = Err("no BTF: use another".into())), [("btf", Missing)]);
    let lacks = |fact| move |f: &mut Facts| types(f).kernel.remove(fact);
    let old = KernelFacts::MAP_ITERATOR | KernelFacts::OWN_TABLES;
    let no_descriptor = [("accept-queues", Limited), ("connections", Limited)];
    assert_eq!(complaints(lacks(old)), no_descriptor);
    assert_eq!(complaints(lacks(KernelFacts::LOOP)), [("accept-queues", Limited)]);
    assert_eq!(complaints(lacks(KernelFacts::CAST)), []);
    assert_eq!(complaints(lacks(KernelFacts::OWN_TABLES)), []);
    let strange = [("connections", Limited), ("namespaces", Limited), ("layout", Limited)];
    assert_eq!(complaints(lacks(KernelFacts::KNOWN_BUCKETS)), strange);
    assert_eq!(complaints(lacks(KernelFacts::KNOWN_FLAGS)), [("layout", Limited)]);
    assert_eq!(complaints(|f| types(f).tracepoint = false), [("tp_btf", Missing)]);
    assert_eq!(complaints(|f| types(f).ring_buffer = false), [("ring-buffer", Missing)]);
    let old = |f: &mut Facts| types(f).task_iterators = false;
    assert_eq!(complaints(old), [("kernel", Missing), ("iter/task", Missing)]);
    let confidential = |f: &mut Facts| f.files.lockdown = Some("confidentiality".into());
    assert_eq!(complaints(confidential), [("lockdown", Missing)]);
    assert_eq!(complaints(|f| f.seccomp = Some(true)), [("seccomp", Missing)]);
    assert_eq!(complaints(|f| f.seccomp = None), []);
    assert_eq!(complaints(|f| f.in_user_namespace = true), [("user-namespace", Missing)]);
    assert_eq!(complaints(|f| f.files.pid_namespace = Some(4)), [("pid-namespace", Limited)]);
    assert_eq!(complaints(|f| f.files.pid_namespace = None), [("pid-namespace", Missing)]);
    assert_eq!(complaints(|f| f.files.proc_self = Some(9)), [("proc", Limited)]);
}

/// Each program that a kernel gets is named in one line, and no other is.
#[test]
fn programs_are_those_that_are_loaded() {
    for missing in [KernelFacts::empty(), KernelFacts::CAST, KernelFacts::LOOP] {
        let mut facts = fit();
        types(&mut facts).kernel.remove(missing);
        let kernel = types(&mut facts).kernel;
        let details: String =
            checks(&facts).iter().map(|check| check.detail.clone() + " ").collect();
        let words: Vec<_> = details.split([' ', ',', ':', '(', ')']).collect();
        for program in PROGRAMS {
            let times = words.iter().filter(|word| **word == program.name).count();
            assert_eq!(times, usize::from(program.is_for(kernel)), "{}: {details}", program.name);
        }
    }
}

#[test]
fn each_feature_has_its_capabilities() {
    let lacking = |f: &mut Facts| {
        for (feature, missing) in &mut f.missing {
            *missing = feature.names();
        }
    };
    let without_any = [
        ("capabilities", Status::Missing),
        ("capabilities-self-test", Status::Limited),
        ("capabilities-processes", Status::Limited),
    ];
    assert_eq!(complaints(lacking), without_any);
}

#[test]
fn locked_memory_matters_where_it_is_counted() {
    let old = |limit| {
        move |f: &mut Facts| {
            types(f).counts_locked_memory = true;
            f.files.locked_memory = Some(limit);
            let memory = f.missing.iter_mut().find(|(feature, _)| feature.name == MEMORY.name);
            let (feature, missing) = memory.unwrap();
            *missing = feature.names();
        }
    };
    assert_eq!(complaints(old(u64::MAX)), []);
    assert_eq!(complaints(old(65536)), [("capabilities-memory", Status::Missing)]);
}

#[test]
fn what_proc_does_not_tell_is_not_known() {
    let detail = |enabled| {
        let mut facts = fit();
        facts.files.mptcp_enabled = enabled;
        mptcp(&facts).detail
    };
    assert_eq!(detail(Some(false)), "not enabled");
    assert!(detail(None).starts_with("not known"), "{}", detail(None));
}

#[test]
fn an_error_ends_with_its_remedy() {
    let mut facts = fit();
    facts.types = Err("cannot use it: it is bad: give another".into());
    let check = btf(&facts);
    assert_eq!(check.detail, "cannot use it: it is bad");
    assert_eq!(check.remedy.as_deref(), Some("give another"));
}
