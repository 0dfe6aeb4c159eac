//! Under a seccomp filter that refuses bpf(), as a container's does, the filter is named.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

use crate::capabilities::with_only;
use crate::common::tool::{Ran, binary};
use crate::common::{Leaker, need_root};

fn step(code: u32, value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: code.try_into().unwrap(), jt: then, jf: otherwise, k: value }
}

/// Has a filter answer EPERM to a system call; to others, nothing changes.
#[allow(unsafe_code, reason = "nix has no seccomp filters")]
fn refuse(number: libc::c_long) -> io::Result<()> {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut filter = [
        // The number is what struct seccomp_data begins with.
        step(load, 0, 0, 0),
        step(jump, number.try_into().unwrap(), 0, 1),
        step(end, refused, 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    let mode = libc::SECCOMP_MODE_FILTER;
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the tool where a system call is refused.
#[allow(unsafe_code, reason = "what runs between fork() and exec() makes one system call")]
fn where_refused(number: libc::c_long, arguments: &[&str]) -> Ran {
    need_root();
    let mut command = Command::new(binary());
    command.args(arguments);
    unsafe { command.pre_exec(move || refuse(number)) };
    Ran::of(&mut command)
}

#[test]
fn a_filter_that_refuses_bpf_is_named() {
    for subcommand in ["list", "watch", "events"] {
        let ran = where_refused(libc::SYS_bpf, &[subcommand]);
        assert_eq!((ran.code, ran.text()), (Some(3), ""), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        for word in ["seccomp filter", "--security-opt seccomp=sockleak.json"] {
            assert!(ran.stderr.contains(word), "{ran:?}");
        }
    }
}

#[test]
fn doctor_names_it() {
    let check = |number| {
        let ran = where_refused(number, &["doctor", "--json"]);
        let said: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let checks = said["checks"].as_array().unwrap();
        let seccomp = checks.iter().find(|check| check["name"] == "seccomp").unwrap().clone();
        (ran.code, seccomp["status"].as_str().unwrap().to_owned(), seccomp["remedy"].clone())
    };
    let (code, status, remedy) = check(libc::SYS_bpf);
    assert_eq!((code, &*status), (Some(3), "missing"));
    assert!(remedy.as_str().unwrap().contains("seccomp"), "{remedy}");
    let (code, status, remedy) = check(libc::SYS_reboot);
    assert_eq!((code, &*status), (Some(0), "ok"));
    assert!(remedy.is_null(), "{remedy}");
}

/// A filter is no obstacle by itself; and not what is missing where capabilities are.
#[test]
fn a_filter_is_blamed_for_what_it_does_only() {
    let leaker = Leaker::start();
    let netns = leaker.netns.to_string();
    let ran = where_refused(libc::SYS_reboot, &["list", "--netns", &netns]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let ran = with_only(&[], || where_refused(libc::SYS_bpf, &["list"]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("CAP_BPF") && !ran.stderr.contains("seccomp"), "{ran:?}");
}
