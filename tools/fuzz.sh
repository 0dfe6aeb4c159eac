#!/bin/sh
# Usage: fuzz.sh RUNS
# Feeds each target in fuzz/ so many inputs, always the same ones; fails on a panic. What cargo-fuzz does
# needs a nightly toolchain for its sanitizers only; the coverage that guides it is stable.
set -eu
cd "$(dirname "$0")/../fuzz"

../tools/need.sh g++:g++
target=${CARGO_TARGET_DIR:-../target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# With --target, cargo keeps these flags away from build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table" \
    cargo build --release --quiet --locked --target "$triple" --target-dir "$target"

for name in decode table; do
    log=$target/$name.log
    "$target/$triple/release/$name" -runs="$1" -seed=1 -max_len=4096 -print_funcs=0 \
        -print_final_stats=1 -artifact_prefix="$target/" >"$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
    sed -n "s/^stat::number_of_executed_units: /fuzzed $name, inputs: /p" "$log"
done
