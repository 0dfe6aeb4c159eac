//! Compiles the BPF programs that sockleak is measured against.

use std::env;
use std::path::PathBuf;

use anyhow::Result;
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "src/bpf/floor.bpf.c";

fn main() -> Result<()> {
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(["-I../../vmlinux", "-Wall", "-Werror"])
        .build_and_generate(PathBuf::from(env::var("OUT_DIR")?).join("floor.skel.rs"))?;
    for path in ["src/bpf", "../../vmlinux"] {
        println!("cargo:rerun-if-changed={path}");
    }
    Ok(())
}
