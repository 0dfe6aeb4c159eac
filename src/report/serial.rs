//! Serializers of times: ns in, seconds out.

use std::time::SystemTime;

use serde::Serializer;

use crate::host::clock;

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&clock::rfc3339(*time))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// ns as seconds, to the millisecond.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn seconds<S: Serializer>(ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((ns / 1_000_000) as f64 / 1_000.0)
}

pub(crate) fn optional_seconds<S: Serializer>(
    ns: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match ns {
        Some(ns) => seconds(ns, serializer),
        None => serializer.serialize_none(),
    }
}
