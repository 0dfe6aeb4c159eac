//! Compiles the BPF program and generates its Rust skeleton into `OUT_DIR`.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "src/bpf/sockleak.bpf.c";

fn main() -> Result<()> {
    let skeleton = PathBuf::from(env::var("OUT_DIR")?).join("sockleak.skel.rs");
    // The BTF names the source: by its place in the project, whatever the machine.
    let here = format!("-ffile-prefix-map={}=.", env::current_dir()?.display());
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(["-Ivmlinux", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", &here])
        .build_and_generate(&skeleton)
        .with_context(|| {
            format!("{SOURCE} does not compile (is clang installed? try `make setup`)")
        })?;
    for path in ["src/bpf", "vmlinux"] {
        println!("cargo:rerun-if-changed={path}");
    }
    Ok(())
}
