//! Labels that name who leaks: programs, units, containers and pods; never a number.

use std::fs;

use crate::common::tool::list_text;
use crate::common::{Cgroups, Kind, Leaker, wait_until};
use crate::metrics::assert_accepted;
use crate::web::{Exporter, samples, sum};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "2f6e4c1a-7d3b-4e5f-8a9b-0c1d2e3f4a5b";
const PROCESS: &str = "sockleak_process_leaked_sockets";

#[test]
fn two_workers_of_a_unit_are_one_group() {
    let mut cgroups = Cgroups::unified();
    let mut first = Leaker::listening();
    let mut second = first.start_beside();
    second.listen("v4");
    for leaker in [&first, &second] {
        cgroups.put("shop.service", leaker.pid);
    }
    first.plant(Kind::EofRead, 3);
    first.plant(Kind::NeverAccepted, 2);
    second.plant(Kind::EofRead, 4);
    let exporter = Exporter::start(&first, &[]);
    let ours = r#"comm="leaker",unit="shop.service",namespace="",pod="",container="","#;
    let eof_read = format!(r#"{PROCESS}{{{ours}container_id="",verdict="eof-read"}}"#);
    let now = exporter.wait_for("seven leaks", |now| now.get(&eof_read) == Some(&7.0));
    assert_eq!(sum(&now, "sockleak_listener_accept_queue_length", ours), 2.0);
    assert_eq!(sum(&now, "sockleak_process_fd_usage_ratio", ours), {
        let usage = |leaker: &Leaker| leaker.open_descriptors().len() as f64;
        let limit = fs::read_to_string(format!("/proc/{}/limits", first.pid)).unwrap();
        let limit = limit.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let limit: f64 = limit.split_whitespace().nth(3).unwrap().parse().unwrap();
        usage(&first).max(usage(&second)) / limit
    });
    let begins = format!("leaker[{}] (shop.service) leaks ", first.pid);
    wait_until("it is logged", || exporter.process.stderr().contains(&begins));
    // Processes have to leave before their cgroups do.
    drop((first, second));
}

#[test]
fn a_pod_is_named() {
    let mut cgroups = Cgroups::unified();
    let mut leaker = Leaker::listening();
    let slice = format!("kubepods.slice/kubepods-pod{}.slice", POD.replace('-', "_"));
    cgroups.put(&format!("{slice}/cri-containerd-{ID}.scope"), leaker.pid);
    leaker.leak();
    let logs = std::env::temp_dir().join(format!("sockleak-pods-{}", std::process::id()));
    fs::create_dir_all(logs.join(format!("shop_web-0_{POD}/nginx"))).unwrap();
    let options = ["--format", "prometheus", "--pod-logs", logs.to_str().unwrap()];
    let ran = list_text(&leaker, &options);
    assert_accepted(ran.text());
    let labels = format!(
        r#"namespace="shop",pod="web-0",container="nginx",container_id="{ID}",verdict="eof-read""#
    );
    assert_eq!(sum(&samples(ran.text()), PROCESS, &labels), 1.0, "{ran:?}");
    fs::remove_dir_all(&logs).unwrap();
    drop(leaker);
}
