//! A real Prometheus scrapes a leak that grows: the alert that we ship fires, and ends when the leak does.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::lines::Running;
use crate::common::{Kind, Leaker, wait_until};
use crate::web::{Exporter, free_port, get};

/// Our rules in seconds instead of minutes; the conditions stay as they are.
fn hurried_rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/sockleak.rules.yml");
    let mut rules = fs::read_to_string(path).unwrap();
    for (slow, fast) in [
        ("[15m]", "[10s]"),
        ("for: 10m", "for: 1s"),
        ("for: 15m", "for: 1s"),
        ("- name: sockleak\n", "- name: sockleak\n  interval: 1s\n"),
    ] {
        assert!(rules.contains(slow), "{slow}");
        rules = rules.replace(slow, fast);
    }
    rules
}

struct Prometheus {
    process: Running,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path, exporter: &Exporter) -> Self {
        let rules = folder.join("rules.yml");
        fs::write(&rules, hurried_rules()).unwrap();
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n\
             - job_name: sockleak\n  static_configs: [{{targets: ['{}']}}]\n",
            rules.display(),
            exporter.address
        );
        fs::write(&config, text).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Running::start(command.stdin(Stdio::null()));
        wait_until("Prometheus is ready", || {
            assert!(!process.stderr().contains("level=error"), "{}", process.stderr());
            process.stderr().contains("Server is ready")
        });
        Self { process, address }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = get(&self.address, path);
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Alerts that fire: their names, and the programs that they name.
    fn firing(&self) -> Vec<(String, String)> {
        let answer = self.ask("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let label = |alert: &Value, name: &str| {
            alert["labels"][name].as_str().unwrap_or_default().to_owned()
        };
        firing.map(|alert| (label(alert, "alertname"), label(alert, "comm"))).collect()
    }
}

#[test]
fn a_growing_leak_fires_an_alert_which_ends_with_it() {
    let folder = std::env::temp_dir().join(format!("sockleak-alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut leaker = Leaker::start_named(b"shop \"x\"");
    leaker.listen("v4");
    let exporter = Exporter::start(&leaker, &[]);
    let prometheus = Prometheus::start(&folder, &exporter);
    let query = "/api/v1/query?query=sockleak_build_info";
    wait_until("the exporter is scraped", || {
        prometheus.ask(query)["data"]["result"].as_array().is_some_and(|series| !series.is_empty())
    });
    let alert = ("SocketLeakGrows".to_owned(), "shop \"x\"".to_owned());
    assert!(!prometheus.firing().contains(&alert));
    wait_until("the alert fires", || {
        leaker.plant(Kind::EofRead, 2);
        prometheus.firing().contains(&alert)
    });
    leaker.close_all();
    wait_until("the alert ends", || !prometheus.firing().contains(&alert));
    // And a sockleak that is gone is an alert, too.
    drop(exporter);
    wait_until("a blind spot is seen", || {
        prometheus.firing().iter().any(|(name, _)| name == "SockleakBlind")
    });
    drop(prometheus.process);
    fs::remove_dir_all(&folder).unwrap();
}
