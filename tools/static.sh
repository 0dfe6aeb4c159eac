#!/bin/sh
# Usage: static.sh CARGO-BUILD-ARGUMENT...
# `cargo build` for programs that need nothing on the host they run on: libc, libelf, zlib and libbpf inside.
set -eu

# What libbpf-sys needs to build its own libelf.
"$(dirname "$0")/need.sh" automake:automake autopoint:autopoint flex:flex bison:bison gawk:gawk \
    make:make pkg-config:pkg-config >&2

# No path of this machine gets into the binary: whoever builds the same source has the same bytes.
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cargo=${CARGO_HOME:-$HOME/.cargo}
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$target=/target -ffile-prefix-map=$root=/sockleak -ffile-prefix-map=$cargo=/cargo"
remap="--remap-path-prefix=$root=/sockleak --remap-path-prefix=$target=/target --remap-path-prefix=$cargo=/cargo"

# With --target, cargo keeps the flags away from build scripts and procedural macros, which cannot be static.
RUSTFLAGS="-C target-feature=+crt-static $remap" exec cargo build --release --features static \
    --target "$(rustc -vV | sed -n 's/^host: //p')" "$@"
