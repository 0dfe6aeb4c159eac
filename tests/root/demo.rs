//! The blog post's scenario, as `make demo` shows it.

use nix::sys::signal::Signal;

use crate::common::{DEADLINE, Leaker, Listener, Report, Watch};

#[test]
fn a_server_that_never_closes_until_it_is_told_to() {
    let place = Leaker::start();
    let mut server = place.serve();
    let port = String::from_utf8(server.line(DEADLINE).unwrap()).unwrap();
    let address = Listener { fd: -1, local: format!("127.0.0.1:{port}") };
    let mut watch = Watch::start(&place, &[]);
    for round in 1..=2 {
        place.visit(&address, 5 * round);
        let all_stranded = |report: &Report| {
            let is_it = |row: &crate::common::Row| {
                (row.pid, row.verdict.as_deref()) == (Some(server.pid()), Some("eof-read"))
                    && row.local == address.local
            };
            report.sockets.len() == 5 * round && report.sockets.iter().all(is_it)
        };
        watch.wait_for("every visitor's connection", all_stranded);
        server.signal(Signal::SIGHUP);
        watch.wait_for("none", |report| report.complete && report.sockets.is_empty());
        let said = String::from_utf8(server.line(DEADLINE).unwrap()).unwrap();
        assert_eq!(said, format!("closed {}", 5 * round));
    }
}
