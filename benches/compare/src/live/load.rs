//! Measures `sockleak watch` on a host where nothing changes: without leaks, and with very many.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::options::Options;
use crate::results::LoadRow;
use crate::scene::Scene;
use crate::summary::Summary;
use crate::tool::Tool;

const LEAKED: usize = 100_000;
/// `watch` without leaks, at the default interval and at five reports a second.
pub(crate) const IDLE: [&str; 2] = ["watch --json", "watch --json --interval 200ms"];
/// Time for the start and the first report, which are not measured.
const WARM_UP: Duration = Duration::from_secs(3);

pub(crate) fn load(scene: &Scene, options: &Options) -> Result<Vec<LoadRow>> {
    let time = Duration::from_secs(if options.quick { 8 } else { 30 });
    eprintln!("load: idle");
    let mut rows = Vec::new();
    for command in IDLE {
        rows.push(watch(command, 0, time, options)?);
    }
    let _crowd = scene.crowd()?;
    let leaks = scene.leak(LEAKED, 1)?;
    eprintln!("load: {LEAKED} sockets in {} processes", leaks.processes);
    rows.push(watch("watch", LEAKED, time, options)?);
    rows.push(watch("watch --json", LEAKED, time, options)?);
    Ok(rows)
}

fn watch(args: &str, leaked: usize, time: Duration, options: &Options) -> Result<LoadRow> {
    let sockleak = options.sockleak.to_string_lossy().into_owned();
    let command: Vec<String> =
        [sockleak].into_iter().chain(args.split(' ').map(str::to_owned)).collect();
    let frames = Frames::open()?;
    let tool = match Tool::start(&command, frames.path())? {
        Ok(tool) => tool,
        Err(error) => anyhow::bail!("{}: {error}", command.join(" ")),
    };
    thread::sleep(WARM_UP);
    let before = tool.cpu_seconds()?;
    let mut refreshes = Vec::new();
    let mut last = (frames.count(), before);
    // Ten looks a second see every refresh by itself.
    let steps = 10 * time.as_secs();
    for _ in 0..steps {
        thread::sleep(Duration::from_millis(100));
        let count = frames.count();
        if count > last.0 {
            let cpu = tool.cpu_seconds()?;
            let cpu_ms = (cpu - last.1) * 1e3 / (count - last.0) as f64;
            refreshes.push(frames.last_took_ms().unwrap_or(cpu_ms));
            last = (count, cpu);
        }
    }
    let cpu = tool.cpu_seconds()? - before;
    let resident_kib = tool.resident_kib()?;
    tool.stop()?;
    Ok(LoadRow {
        leaked,
        command: format!("sockleak {args}"),
        cpu_percent: cpu / (steps as f64 / 10.0) * 100.0,
        refresh_ms: Summary::of(refreshes),
        resident_kib,
    })
}

/// Reports that a tool prints again and again, through a named pipe: the last one, and their number.
pub(super) struct Frames {
    path: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    last: Vec<u8>,
    last_took_ms: Option<f64>,
}

impl Frames {
    pub(super) fn open() -> Result<Self> {
        let path = env::temp_dir().join(format!("compare.{}.fifo", std::process::id()));
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        thread::spawn({
            let (path, seen) = (path.clone(), Arc::clone(&seen));
            move || read(&path, &seen)
        });
        Ok(Self { path, seen })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reports begun (text) or complete (JSON).
    fn count(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Time from the clock in the last line of JSON to the end of that line.
    fn last_took_ms(&self) -> Option<f64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last_took_ms
    }

    /// The last line of JSON.
    pub(super) fn last(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen.last).into_owned()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // The folder for temporary files is cleaned anyway.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads until the writer has gone. Opening waits for a writer. A line may have 40 MB: two buffers
/// take turns, because the time to get new memory would be measured, too.
fn read(path: &Path, seen: &Mutex<Seen>) -> Option<()> {
    let mut pipe = BufReader::with_capacity(1 << 20, File::open(path).ok()?);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).ok()? > 0 {
        let now = SystemTime::now();
        let is_json = line.starts_with(b"{");
        // In text every report begins with the names of the columns.
        if is_json || line.trim_ascii_start().starts_with(b"AGE ") {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.count += 1;
            if is_json {
                seen.last_took_ms = ms_since(str::from_utf8(&line).ok()?, now);
                mem::swap(&mut seen.last, &mut line);
            }
        }
        line.clear();
    }
    Some(())
}

/// Age of a report, less than a day, from the time that it states.
fn ms_since(report: &str, now: SystemTime) -> Option<f64> {
    const DAY_MS: u128 = 86_400_000;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_millis() % DAY_MS;
    // 2026-11-24T02:38:00.123Z
    let (_, rest) = report.split_once("\"time\":\"")?;
    let (_, time) = rest.split_once('"')?.0.trim_end_matches('Z').split_once('T')?;
    let (whole, millis) = time.split_once('.')?;
    let seconds =
        whole.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u128>().ok()?))?;
    let then = seconds * 1000 + millis.parse::<u128>().ok()?;
    Some(((now + DAY_MS - then) % DAY_MS) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_report_is_found() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_487_880_150); // 02:38:00.150
        let report = r#"{"schema":1,"time":"2026-11-24T02:38:00.123Z","tick":1}"#;
        assert_eq!(ms_since(report, now), Some(27.0));
        let report = r#"{"schema":1,"time":"2026-11-24T23:59:59.999Z","tick":1}"#;
        assert_eq!(ms_since(report, UNIX_EPOCH), Some(1.0));
        assert_eq!(ms_since("{}", now), None);
        assert_eq!(ms_since(r#"{"time":"yesterday"}"#, now), None);
    }
}
