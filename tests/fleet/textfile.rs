//! The way without a daemon: a file that node_exporter's textfile collector reads.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::list_text;
use crate::common::{Kind, Leaker, wait_until};
use crate::web::{free_port, get, samples};

#[test]
fn node_exporter_reads_it() {
    let mut leaker = Leaker::start_named(b"sh\"op\\\n\xff");
    leaker.listen("v4");
    leaker.plant(Kind::EofRead, 3);
    let folder = std::env::temp_dir().join(format!("sockleak-textfile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("sockleak.prom");
    let write = |leaker: &Leaker| {
        let options = ["--format", "prometheus", "-O", file.to_str().unwrap()];
        let ran = list_text(leaker, &options);
        // Leaks are no failure of a timer's.
        assert_eq!((ran.code, ran.text(), &*ran.stderr), (Some(0), "", ""), "{ran:?}");
    };
    write(&leaker);
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus-node-exporter");
    command.args(["--collector.disable-defaults", "--collector.textfile"]);
    command.arg(format!("--collector.textfile.directory={}", folder.display()));
    command.arg(format!("--web.listen-address={address}"));
    let node_exporter = Running::start(command.stdin(Stdio::null()));
    wait_until("node_exporter listens", || {
        assert!(!node_exporter.stderr().contains("level=error"), "{}", node_exporter.stderr());
        node_exporter.stderr().contains("Listening on")
    });
    let scrape = || samples(&get(&address, "/metrics").body);
    let leaked = |verdict: &str| format!("sockleak_leaked_sockets{{verdict=\"{verdict}\"}}");
    let now = scrape();
    assert_eq!(now["node_textfile_scrape_error"], 0.0, "{}", node_exporter.stderr());
    assert_eq!((now[&leaked("eof-read")], now[&leaked("reset")]), (3.0, 0.0));
    leaker.close_all();
    write(&leaker);
    let now = scrape();
    assert_eq!(now["node_textfile_scrape_error"], 0.0);
    assert_eq!(now[&leaked("eof-read")], 0.0, "nothing is stale");
    fs::remove_dir_all(&folder).unwrap();
}
