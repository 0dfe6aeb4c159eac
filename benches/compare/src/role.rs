//! This program again, in another role: it says one line when it is ready, answers lines with
//! lines, and ends when its stdin does.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A child in a role. It ends when this is dropped.
pub(crate) struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    /// Starts it; [`Role::hear`] says when it is ready.
    pub(crate) fn start(args: &[String]) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the role {args:?}"))?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().context("no stdout")?),
            child,
        })
    }

    /// Waits for the next line it says.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("a child has ended early: {}", self.child.wait()?);
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks for its next line.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.stdin.as_ref().context("no stdin")?.write_all(b"\n")?;
        self.hear()
    }

    /// Tells it to end, and waits for what it says at last.
    pub(crate) fn end<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.stdin = None;
        self.hear()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.stdin = None;
        // Nothing is left to be done about a child that cannot be waited for.
        let _ = self.child.wait();
    }
}

/// The child's side: says a line.
pub(crate) fn say(value: &impl Serialize) -> Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, value)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// The child's side: waits for the end of stdin.
pub(crate) fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
