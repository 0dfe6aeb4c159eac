//! Compiles the BPF programs and generates their Rust skeletons into `OUT_DIR`.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

/// One object for what looks at the host, one for `sockleak run`.
const OBJECTS: [&str; 2] = ["sockleak", "follow"];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The BTF names the source: by its place in the project, whatever the machine.
    let here = format!("-ffile-prefix-map={}=.", env::current_dir()?.display());
    for object in OBJECTS {
        let source = format!("src/bpf/{object}.bpf.c");
        SkeletonBuilder::new()
            .source(&source)
            .clang_args([
                "-Ivmlinux",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
                "-Werror",
                &here,
            ])
            .build_and_generate(out.join(format!("{object}.skel.rs")))
            .with_context(|| {
                format!("{source} does not compile (is clang installed? try `make setup`)")
            })?;
    }
    for path in ["src/bpf", "vmlinux"] {
        println!("cargo:rerun-if-changed={path}");
    }
    Ok(())
}
