//! `--peer`: the process at the other end, where it is on this host.

use crate::common::tool::list_text;
use crate::common::{Leaker, list};

#[test]
fn the_process_at_the_other_end() {
    let mut leaker = Leaker::start();
    let listener = leaker.listen("v4");
    let mut client = leaker.start_beside_named(b"the-client");
    let (stays, leaves) = (client.connect(&listener.local), client.connect(&listener.local));
    leaker.accept(2);
    client.shutdown(stays.fd());
    client.close(leaves.fd());
    let (stays, leaves) = (stays.other_end(), leaves.other_end());
    crate::common::wait_until("both ends of file", || list(&leaker, &[]).sockets.len() == 2);

    let report = list(&leaker, &["--peer"]);
    assert_eq!(report.sockets.len(), 2, "{report:#?}");
    let row = report.row(&stays);
    assert_eq!(row.peer_pid, Some(client.pid), "{row:#?}");
    assert_eq!(row.peer_comm.as_deref(), Some("the-client"), "{row:#?}");
    let row = report.row(&leaves);
    assert_eq!((row.peer_pid, &row.peer_comm), (None, &None), "nobody holds it any more: {row:#?}");

    let shown = list_text(&leaker, &["--peer"]);
    let line = shown.text().lines().find(|line| line.contains(&stays.remote)).unwrap();
    assert!(line.contains(&client.pid.to_string()), "{line}");
    let unasked = list(&leaker, &[]);
    assert!(unasked.sockets.iter().all(|row| row.peer_pid.is_none()), "{unasked:#?}");
}
