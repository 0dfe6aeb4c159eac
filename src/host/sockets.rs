//! How many TCP sockets there are.

use std::fs;

/// Counts them in every network namespace, without those in TIME_WAIT, which nobody holds; `None` where
/// the kernel does not say.
pub fn tcp() -> Option<usize> {
    allocated(&fs::read_to_string("/proc/self/net/sockstat").ok()?)
}

fn allocated(sockstat: &str) -> Option<usize> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|&word| word == "alloc")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocated_sockets_count() {
        let sockstat =
            "sockets: used 312\nTCP: inuse 4 orphan 0 tw 2 alloc 3120 mem 1\nUDP: inuse 3 mem 0\n";
        assert_eq!(allocated(sockstat), Some(3_120));
        assert_eq!(allocated("TCP: inuse 4"), None);
        assert_eq!(allocated(""), None);
        let _socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(tcp() >= Some(1));
    }
}
