//! Detects a seccomp filter, such as a container's, that refuses bpf().
//!
//! Docker's and containerd's filters answer EPERM, as the kernel does to who lacks a capability; libbpf
//! then suspects the limit of locked memory.

use std::fs;

use nix::errno::Errno;
use nix::libc;

/// The remedy.
pub const REMEDY: &str = "run it on the host, or in a container whose filter allows bpf() (docker \
                          run --security-opt seccomp=sockleak.json, which is in deploy/seccomp)";

/// Returns true if a filter refuses bpf(). Can tell it only with the capabilities: to others the
/// kernel itself may answer the same.
pub fn refuses_bpf() -> bool {
    bpf_is_refused()
        && fs::read_to_string("/proc/self/status").is_ok_and(|status| has_filter(&status))
}

fn has_filter(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// Looks something up in a map that there is not, which does no harm: the kernel answers EBADF.
fn bpf_is_refused() -> bool {
    const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
    // The beginning of union bpf_attr: the map's descriptor, padding, and three 64-bit members.
    let attr = [u32::MAX, 0, 0, 0, 0, 0, 0, 0];
    #[expect(unsafe_code, reason = "nothing else makes this call without libbpf's retries")]
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, attr.as_ptr(), size_of_val(&attr))
    };
    result == -1 && Errno::last() == Errno::EPERM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_says_whether_there_is_a_filter() {
        let status = |mode| format!("NoNewPrivs:\t1\nSeccomp:\t{mode}\nSeccomp_filters:\t2\n");
        assert!(has_filter(&status(2)));
        assert!(!has_filter(&status(1)) && !has_filter(&status(0)));
        assert!(!has_filter("Seccomp_filters:\t2\n") && !has_filter(""));
    }
}
