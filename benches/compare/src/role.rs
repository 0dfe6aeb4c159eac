//! Children that are this program in another role. A child prints a line when it is ready, answers
//! each line on stdin with a line, and ends when stdin does.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A child in a role. Dropping it ends the child.
pub(crate) struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    /// Starts a child. [`Role::hear`] waits until it is ready.
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

    /// Waits for the child's next line.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("a child has ended early: {}", self.child.wait()?);
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks for the child's next line.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.stdin.as_ref().context("no stdin")?.write_all(b"\n")?;
        self.hear()
    }

    /// Tells the child to end, and waits for its last line.
    pub(crate) fn end<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.stdin = None;
        self.hear()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.stdin = None;
        // A child that cannot be waited for has ended.
        let _ = self.child.wait();
    }
}

/// Prints a line, in the child.
pub(crate) fn say(value: &impl Serialize) -> Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, value)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// Waits for the end of stdin, in the child.
pub(crate) fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
