//! Hears of changes in a warehouse.

use std::io::{self, BufRead, BufReader};
use std::net::{TcpStream, ToSocketAddrs};

/// A connection to a warehouse.
pub struct Watcher(BufReader<TcpStream>);

impl Watcher {
    /// Connects.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address)?)))
    }

    /// Waits for a change; an empty line at the end.
    pub fn next(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A registry that outlives the tests, as connection pools do.
    static WATCHERS: Mutex<Vec<Watcher>> = Mutex::new(Vec::new());

    /// Tells of one change, and hangs up.
    fn warehouse() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.accept().unwrap().0.write_all(b"apple\n").unwrap());
        address
    }

    #[test]
    fn hears_of_a_change() {
        let mut watcher = Watcher::connect(warehouse()).unwrap();
        assert_eq!(watcher.next().unwrap(), "apple\n");
        assert_eq!(watcher.next().unwrap(), "");
        WATCHERS.lock().unwrap().push(watcher);
        // Work that has nothing to do with it.
        thread::sleep(Duration::from_millis(200));
    }
}
