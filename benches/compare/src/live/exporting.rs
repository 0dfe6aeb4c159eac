//! `sockleak export` at its default interval, scraped each second.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::results::ExportRow;
use crate::scene::Scene;
use crate::summary::Summary;
use crate::tool::Tool;

const LEAKED: [usize; 3] = [0, 1_000, 100_000];

/// The cost of the exporter, with different numbers of leaks.
pub(crate) fn export(scene: &Scene, options: &Options) -> Result<Vec<ExportRow>> {
    // A whole number of intervals.
    let time = Duration::from_secs(if options.quick { 30 } else { 120 });
    LEAKED.into_iter().map(|leaked| row(scene, options, leaked, time)).collect()
}

fn row(scene: &Scene, options: &Options, leaked: usize, time: Duration) -> Result<ExportRow> {
    let leaks = (leaked > 0).then(|| scene.leak(leaked, 1)).transpose()?;
    eprintln!("export: {leaked} sockets");
    let socket = std::env::temp_dir().join(format!("compare.{}.sock", std::process::id()));
    let listen = format!("unix:{}", socket.display());
    let command = [&*options.sockleak.to_string_lossy(), "export", "--min-age", "0s", "--listen"];
    let command: Vec<_> = command.into_iter().chain([&*listen]).map(str::to_owned).collect();
    let tool = match Tool::start(&command, Path::new("/dev/null"))? {
        Ok(tool) => tool,
        Err(error) => bail!("sockleak export: {error}"),
    };
    let end = Instant::now() + Duration::from_secs(60);
    while scrape(&socket).is_err() {
        if Instant::now() > end {
            bail!("sockleak export does not serve: see {}", tool.err().display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (start, cpu) = (Instant::now(), tool.cpu_seconds()?);
    let mut readings = Vec::new();
    let mut page = String::new();
    while start.elapsed() < time {
        let began = Instant::now();
        page = scrape(&socket)?;
        readings.push(began.elapsed().as_secs_f64() * 1e3);
        thread::sleep(Duration::from_secs(1));
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), tool.cpu_seconds()? - cpu);
    let resident_kib = tool.resident_kib()?;
    tool.stop()?;
    drop(leaks);
    Ok(ExportRow {
        leaked,
        cpu_percent: cpu / seconds * 100.0,
        resident_kib,
        series: page.lines().filter(|line| !line.starts_with('#')).count(),
        bytes: page.len(),
        scrape_ms: Summary::of(readings),
    })
}

/// The metrics that the exporter serves now.
fn scrape(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").context("no answer")?;
    if !head.starts_with("HTTP/1.0 200") {
        bail!("{}", head.lines().next().unwrap_or_default());
    }
    Ok(page.to_owned())
}
