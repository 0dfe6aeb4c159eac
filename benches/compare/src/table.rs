//! Reads the results of `cargo bench --bench table`: the table alone, with synthetic events.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::options::Options;
use crate::results::TableRow;

/// File of the memory figure, which Criterion does not measure.
const MEMORY: &str = "table-memory.json";

#[derive(Deserialize)]
struct Memory {
    sockets: u64,
    bytes_per_socket: f64,
}

pub(crate) fn read(options: &Options) -> Result<Vec<TableRow>> {
    let memory = options.criterion.join(MEMORY);
    let memory = fs::read_to_string(&memory)
        .with_context(|| format!("no {}: run `cargo bench --bench table`", memory.display()))?;
    let memory: Memory = serde_json::from_str(&memory)?;
    let mut rows = Vec::new();
    collect(&options.criterion, &mut rows)?;
    rows.sort_by(|a, b| a.what.cmp(&b.what));
    rows.push(TableRow {
        what: "resident memory".to_owned(),
        sockets: memory.sockets,
        per_socket: memory.bytes_per_socket,
        unit: "bytes",
    });
    Ok(rows)
}

/// Reads the folder `new` of every benchmark, with its name and its time.
fn collect(folder: &Path, rows: &mut Vec<TableRow>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let read = |name: &str| -> Result<Value> {
            Ok(serde_json::from_str(&fs::read_to_string(path.join(name))?)?)
        };
        if path.ends_with("new") {
            let benchmark = read("benchmark.json")?;
            let estimates = read("estimates.json")?;
            let sockets = benchmark["throughput"]["Elements"].as_u64();
            let median = estimates["median"]["point_estimate"].as_f64();
            let (sockets, median) = sockets.zip(median).context("Criterion has a new format")?;
            rows.push(TableRow {
                what: benchmark["full_id"].as_str().unwrap_or("?").to_owned(),
                sockets,
                per_socket: median / sockets as f64,
                unit: "ns",
            });
        } else {
            collect(&path, rows)?;
        }
    }
    Ok(())
}
