#!/bin/sh
# Usage: static.sh CARGO-BUILD-ARGUMENT...
# `cargo build` for programs that need nothing on the host they run on: libc, libelf, zlib and libbpf inside.
set -eu

# What libbpf-sys needs to build its own libelf.
"$(dirname "$0")/need.sh" automake:automake autopoint:autopoint flex:flex bison:bison gawk:gawk \
    make:make pkg-config:pkg-config >&2

# With --target, cargo keeps the flag away from build scripts and procedural macros, which cannot be static.
RUSTFLAGS='-C target-feature=+crt-static' exec cargo build --release --features static \
    --target "$(rustc -vV | sed -n 's/^host: //p')" "$@"
