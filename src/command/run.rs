//! `sockleak run`: runs a command, and fails it if it leaks sockets.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::output::note;
use crate::cli::value;
use crate::exit::Exit;
use crate::follow::baseline::{Baseline, Ephemeral};
use crate::follow::command::{self, Limits, Running};
use crate::follow::doubt::Doubt;
use crate::follow::ends::{Ends, Rules, count_stranded};
use crate::follow::gate::{FAILED, Gate};
use crate::follow::report::{Facts, Outcome, RunReport};
use crate::follow::signals::Signals;
use crate::host::user::Caller;
use crate::host::{clock, privilege};
use crate::probe::{FollowConfig, Follower, Left};
use crate::report::filter::{Filter, Whose};
use crate::sock::age::Tick;
use crate::view::text::run;
use crate::view::{json, junit};

/// How often records are fetched: their memory is small, and nobody waits for them.
const FETCH: Duration = Duration::from_millis(250);
/// How long to wait for processes that exit, after the command's own end. One may wait for a file system.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The options of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Count only sockets that were dead for longer than this when they were closed
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = value::duration)]
    min_age: Duration,
    /// Count what a process closes so shortly before it exits as if it had not closed it
    ///
    /// Time for which the process waits for a CPU is not counted.
    ///
    /// Example: --teardown 1s
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = value::duration)]
    teardown: Duration,
    /// Also count what is stranded: connections that are not over, but stand still
    #[arg(long)]
    stranded: bool,
    /// Also count what a process closed late, and lived on
    #[arg(long)]
    count_late: bool,
    /// Allow so many leaked sockets
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_leaks: usize,
    /// Exit with this code if the command succeeded and leaked
    #[arg(long, value_name = "CODE", default_value_t = 1)]
    leak_exit_code: u8,
    /// Leave out known leaks: KEY=VALUE,…, such as port=9000,verdict=eof-read; may be repeated
    ///
    /// Keys are pid, comm, uid, user, cmd, local, remote, port, netns, state and verdict. All keys of a
    /// filter have to match; a key given twice matches either value.
    ///
    /// Example: --not comm=redis-server,verdict=eof-unread
    #[arg(long, value_name = "FILTER", value_parser = known)]
    not: Vec<Filter>,
    /// Leave out the leaks in this file, and tell which of them no longer occur
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the leaks to the file that --baseline names, as known ones; then they do not count
    #[arg(long, requires = "baseline")]
    write_baseline: bool,
    /// Write the report to this file instead of stderr
    #[arg(short = 'O', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also write the report as JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run the command as root, although sudo was called by somebody else
    #[arg(long)]
    as_root: bool,
    /// Write the report as one JSON object
    #[arg(short, long)]
    json: bool,
    /// Buffer so many bytes of events: a power of two, at least a page
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = value::ring_size)]
    ring_size: u32,
    /// Follow so many processes, and note so many dead sockets of the whole host, at once
    #[arg(long, value_name = "N", default_value_t = 1 << 18, value_parser = value::table_size)]
    table_size: u32,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Files to write to, opened before the command starts, as the user who called.
struct Files {
    output: Option<File>,
    junit: Option<File>,
    baseline: Option<File>,
}

impl Args {
    /// Runs the command. An error before it starts has a code of its own.
    pub(super) fn run(&self) -> Result<Exit> {
        let (started, gate) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                note(format_args!("{error:#}"));
                return Ok(Exit::Run(FAILED));
            }
        };
        match started {
            Ok(started) => self.finish(started, gate),
            Err(code) => Ok(Exit::Run(code)),
        }
    }

    /// Does all that needs privilege, and starts the command; an exit code where that cannot be
    /// executed.
    fn start(&self) -> Result<(Result<Started, u8>, Gate)> {
        let limits = Limits::received();
        let caller = Caller::behind_sudo().filter(|_| !self.as_root);
        let (files, gate) = match &caller {
            Some(caller) => caller
                .act(|| self.open())
                .context("cannot become the user who called sudo (--as-root keeps root)")??,
            None => self.open()?,
        };
        let follower = Follower::open(&FollowConfig {
            min_age: self.min_age,
            stranded: self.stranded,
            ring_size: self.ring_size,
            table_size: self.table_size,
        })?;
        let mut kept = vec![caps::Capability::CAP_KILL];
        kept.extend(follower.needs());
        let signals = Signals::hold().context("cannot hold back signals")?;
        let began = Instant::now();
        let child = command::start(&self.command, caller.as_ref(), signals.received(), limits);
        let child = match child {
            Ok(child) => child,
            Err(refused) => {
                let name = Path::new(self.command.first().map_or("".as_ref(), OsString::as_os_str));
                note(format_args!("cannot run {}: {}", name.display(), refused.error));
                return Ok((Err(refused.code), gate));
            }
        };
        // The command runs; what it must not inherit comes after.
        if let Err(error) = privilege::give_up_all_but(&kept) {
            note(format_args!("cannot give up capabilities: {error}"));
        }
        Ok((Ok(Started { follower, signals, child, began, files }), gate))
    }

    /// Opens all files that are read and written.
    fn open(&self) -> Result<(Files, Gate)> {
        let create = |path: &Option<PathBuf>| {
            let file = path.as_ref().map(|path| File::create(path).with_context(|| cannot(path)));
            file.transpose()
        };
        let (mut known, mut baseline) = (None, None);
        if let Some(path) = &self.baseline {
            let mut options = File::options();
            options.read(true).write(self.write_baseline).create(self.write_baseline);
            let file = options.open(path).with_context(|| cannot(path))?;
            if self.write_baseline {
                baseline = Some(file);
            } else {
                let parsed = Baseline::read(file);
                known = Some(parsed.with_context(|| format!("{} is no baseline", path.display()))?);
            }
        }
        let files = Files { output: create(&self.output)?, junit: create(&self.junit)?, baseline };
        let gate = Gate {
            stranded: self.stranded,
            count_late: self.count_late,
            max_leaks: self.max_leaks,
            leak_exit_code: self.leak_exit_code,
            not: self.not.clone(),
            baseline: known,
        };
        Ok((files, gate))
    }

    /// Follows the command to its end, and judges.
    fn finish(&self, mut started: Started, mut gate: Gate) -> Result<Exit> {
        let mut ends = Ends::default();
        let mut incomplete = Vec::new();
        let (outcome, left) = match started.follow(&mut ends) {
            Ok(ended) => ended,
            Err(error) => {
                note(format_args!("{error:#}"));
                incomplete.push(Doubt::FollowingFailed);
                (started.wait()?, Left::default())
            }
        };
        if left.has_closing {
            incomplete.push(Doubt::ExitsUnfinished);
        }
        incomplete.extend(doubts(&started.follower, &ends));
        let (time, ran) = (SystemTime::now(), started.began.elapsed());
        let tick = u64::try_from(clock::tick_length().as_nanos()).unwrap_or(0);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let rules = Rules {
            min_age: nanoseconds(self.min_age),
            teardown: nanoseconds(self.teardown),
            tick: Tick { ns: tick },
        };
        let judged = ends.judge(&rules);
        let facts = Facts {
            command: self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            time,
            ran,
            outcome,
            incomplete,
            too_young: started.follower.too_young() + judged.too_young,
            survivors: left.living,
            stranded: count_stranded(&judged.leaks),
            records: ends.records(),
            min_age: self.min_age,
        };
        let ephemeral = ephemeral();
        if let Some(file) = started.files.baseline.take() {
            let counted = gate.sort(judged.leaks.clone(), &ephemeral).leaked;
            let known = Baseline::of(counted.iter(), &ephemeral);
            match known.text().map_err(io::Error::from).and_then(|text| rewrite(file, &text)) {
                Ok(()) => gate.baseline = Some(known),
                // Then they count.
                Err(error) => note(format_args!("cannot write the baseline: {error}")),
            }
        }
        let report = RunReport::new(facts, &gate, gate.sort(judged.leaks, &ephemeral));
        self.write(&report, &mut started.files);
        Ok(Exit::Run(report.exit_code))
    }

    /// Writes the reports. Where one cannot be written, the other may be.
    fn write(&self, report: &RunReport, files: &mut Files) {
        if let Some(file) = files.junit.take() {
            let mut out = BufWriter::new(file);
            if let Err(error) = junit::render(report, &mut out).and_then(|()| out.flush()) {
                note(format_args!("cannot write the JUnit report: {error}"));
            }
        }
        let out: Box<dyn Write> = match files.output.take() {
            Some(file) => Box::new(file),
            None => Box::new(io::stderr()),
        };
        let mut out = BufWriter::new(out);
        let written = match self.json {
            true => json::render(report, &mut out),
            false => run::render(report, &mut out),
        };
        if let Err(error) = written.and_then(|()| out.flush()) {
            note(format_args!("cannot write the report: {error}"));
        }
    }
}

/// A filter on what is known of a process that has ended.
fn known(text: &str) -> Result<Filter, String> {
    let filter: Filter = text.parse()?;
    let by_command = Whose { cmd: filter.whose.cmd.clone(), ..Whose::default() };
    match filter.whose == by_command {
        true => Ok(filter),
        false => Err("exe, unit, container and pod are not known of processes that have ended; \
                      give comm or cmd"
            .to_owned()),
    }
}

fn cannot(path: &Path) -> String {
    format!("cannot open {}", path.display())
}

fn rewrite(mut file: File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// The ports that the kernel chooses from; the default range where they are not known.
fn ephemeral() -> Ephemeral {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    let first = ports.next().unwrap_or(32_768);
    first..=ports.next().unwrap_or(60_999)
}

fn doubts(follower: &Follower, ends: &Ends) -> Vec<Doubt> {
    let losses = follower.losses();
    let counts = [
        (losses.events, Doubt::EventsLost(losses.events)),
        (losses.undecodable, Doubt::RecordsUnreadable(losses.undecodable)),
        (losses.unfollowed, Doubt::ProcessesUnfollowed(losses.unfollowed)),
        (losses.unnoted, Doubt::SocketsUnnoted(losses.unnoted)),
        (ends.dropped(), Doubt::LeaksDropped(ends.dropped())),
        (u64::from(losses.misses_resets), Doubt::ResetsUnseen),
    ];
    counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, doubt)| doubt).collect()
}

/// A command that runs, and those who follow it.
struct Started {
    follower: Follower,
    signals: Signals,
    child: Running,
    began: Instant,
    files: Files,
}

impl Started {
    /// Follows the command until it ends; says how, and which of its processes are left.
    fn follow(&mut self, ends: &mut Ends) -> Result<(Outcome, Left)> {
        let outcome = loop {
            let has_signals = self.follower.wait(self.signals.as_fd(), FETCH)?;
            self.drain(ends)?;
            if !has_signals {
                continue;
            }
            let has_changed =
                self.signals.pass_on(self.child.pid()).context("cannot read signals")?;
            if has_changed && let Some(outcome) = self.child.outcome().context("cannot wait")? {
                break outcome;
            }
        };
        let mut left = self.wait_for_exits(ends)?;
        // Survivors' sockets are looked at first: those that they close meanwhile come after.
        if left.living > 0 {
            self.follower.survey(|record| ends.absorb(record))?;
            left.has_closing = self.wait_for_exits(ends)?.has_closing;
        }
        self.drain(ends)?;
        Ok((outcome, left))
    }

    /// Waits until all processes that exit have closed their files, so that their sockets are known.
    fn wait_for_exits(&mut self, ends: &mut Ends) -> Result<Left> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.follower.left()?;
            if !left.has_closing || Instant::now() > end {
                return Ok(left);
            }
            self.drain(ends)?;
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits for the command's end, and does nothing else but pass on signals.
    fn wait(&mut self) -> Result<Outcome> {
        loop {
            if let Some(outcome) = self.child.outcome().context("cannot wait")? {
                return Ok(outcome);
            }
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("cannot wait for signals"),
            }
            self.signals.pass_on(self.child.pid()).context("cannot read signals")?;
        }
    }

    fn drain(&mut self, ends: &mut Ends) -> Result<()> {
        // In this order: who has ended by now has sent all records that name its program.
        let ended = match ends.has_many_programs() {
            true => ends.programs_besides(&self.follower.programs()?),
            false => Vec::new(),
        };
        self.follower.take()?.into_iter().for_each(|record| ends.absorb(record));
        if !ended.is_empty() {
            ends.forget_programs(ended);
        }
        Ok(())
    }
}
