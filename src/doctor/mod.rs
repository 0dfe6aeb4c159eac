//! `sockleak doctor`: what this host allows. Facts are gathered at the edge ([`facts`]); what they
//! mean ([`checks`]) is pure; that it really works is tried ([`self_test`]).

pub mod checks;
pub mod facts;
pub mod self_test;

use serde::Serialize;

pub use self::self_test::SelfTest;

/// Raised when a field changes its meaning; fields are only ever added.
pub const SCHEMA: u32 = 1;

/// A diagnosis of this host.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture.
    pub arch: String,
    /// A line for each thing that matters.
    pub checks: Vec<Check>,
    /// The result of the self-test.
    pub self_test: SelfTest,
}

impl Diagnosis {
    /// Returns true if sockleak can work here.
    pub fn is_fit(&self) -> bool {
        let missing = |check: &Check| check.status == Status::Missing;
        !self.checks.iter().any(missing) && self.self_test.passed()
    }
}

/// One thing that matters. Without numbers that change from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Its status.
    pub status: Status,
    /// The finding.
    pub detail: String,
    /// The remedy, where there is one.
    pub remedy: Option<String>,
}

/// Status of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is.
    Ok,
    /// It is not, and nothing works without.
    Missing,
    /// It is not, or not entirely, and something works less well.
    Limited,
}

impl Status {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Limited => "limited",
        }
    }
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), remedy: None }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail)
    }

    fn missing(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Missing, detail)
    }

    fn limited(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Limited, detail)
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
