#!/bin/bash
# Usage: kernels.sh [SERIES...]          (all by default; SOCKLEAK is the binary to test)
# Runs the root tests on Debian's kernels, in virtual machines without KVM, and writes docs/kernels.md
# from what it saw. FILTER="name" runs only those tests, as libtest's own argument does.
set -euo pipefail
cd "$(dirname "$0")/../.."

all=(5.10 6.1 6.12 7)
series=("$@")
[[ $# -gt 0 ]] || series=("${all[@]}")

target=${CARGO_TARGET_DIR:-target}
sockleak=${SOCKLEAK:-$target/static/sockleak}
vm=$target/vm
tries=3
boot_limit=90  # seconds until /init runs: about 4 on an idle machine
test_limit=1200 # seconds for all of a guest: about 300 on an idle machine

# The root tests and the workload, static like the tool: a guest has no libraries for them. Prints their
# paths, the workload first. (tests/load measures what an emulated machine has not got.)
build_tests() {
    tools/static.sh --test root --example leaker --message-format=json |
        jq -r 'select(.reason == "compiler-artifact" and .executable and .target.kind[0] != "bin")
               | "\(.target.kind[0]) \(.executable)"' | sort | cut -d' ' -f2-
}

# One boot. Other CPU features than these make a guest without KVM panic now and then.
boot() {
    local kernel=$1 log=$2 console=$3 guest second
    : >"$log"
    timeout "$test_limit" qemu-system-x86_64 \
        -accel tcg -smp 1 -cpu max,la57=off,pku=off,cx16=off -m 2G \
        -nodefaults -display none -no-reboot -serial "file:$console" -serial "file:$log" \
        -kernel "$kernel/vmlinuz" -initrd "$kernel/initramfs" \
        -append "console=ttyS0 loglevel=4 panic=-1 mitigations=off FILTER=\"${FILTER:-}\"" &
    guest=$!
    trap 'kill "$guest"; exit 1' TERM
    for ((second = 0; second < boot_limit; second++)); do
        sleep 1
        if has_booted "$log" || ! kill -0 "$guest" 2>/dev/null; then break; fi
    done
    has_booted "$log" || kill "$guest" 2>/dev/null || true
    wait "$guest" || true
}

has_booted() {
    grep -q '^@ kernel' "$1"
}

# A guest that never ran /init is qemu's doing and is tried again; a failed test is the tool's and is not.
run() {
    local kernel=$vm/$1 log=$vm/log-$1.txt console=$vm/console-$1.txt try start=$SECONDS
    rm -f "$vm/result-$1.json"
    cat "$vm/initramfs" "$kernel/modules.cpio" >"$kernel/initramfs"
    for ((try = 1; try <= tries; try++)); do
        boot "$kernel" "$log" "$console"
        ! has_booted "$log" || break
        echo "$1: /init did not run (try $try of $tries)"
    done
    jq -Rs -f tests/vm/result.jq "$log" >"$vm/result-$1.json"
    summary "$1" $((SECONDS - start))
}

# What one kernel showed, and if it was bad, what it said last.
summary() {
    local result=$vm/result-$1.json
    jq -r --arg series "$1" --arg seconds "$2" '
        "\(.kernel // $series): \(.passed) passed, \(.failed) failed, "
        + "\(.not_possible | length) not possible, \($seconds) s"
        + if .kernel == null then " (did not boot)"
          elif .exit == null then " (did not finish)"
          elif .doctor == null then " (no report from doctor)"
          else "" end,
        (.not_possible[] | "    not possible: \(.test): \(.reason)")' "$result"
    jq -e '.failed > 0' "$result" >/dev/null || return 0
    tail_of "$vm/log-$1.txt"
    # Only a guest that stopped short has something to say on the kernel's console.
    jq -e '.exit' "$result" >/dev/null || tail_of "$vm/console-$1.txt"
}

tail_of() {
    printf -- '---- the end of %s\n%s\n----\n' "$1" "$(tail -n 60 "$1")"
}

tools/need.sh qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio ss:iproute2 \
    jq:jq gpgv:gpgv xz:xz-utils
mkdir -p "$vm"
tests/vm/fetch.sh "$vm" "${series[@]}" &
fetching=$!
build_tests >"$vm/programs"
wait "$fetching"
mapfile -t programs <"$vm/programs"
tests/vm/initramfs.sh "$vm/initramfs" "$sockleak" "${programs[@]}"

trap 'jobs -rp | xargs -r kill' EXIT
results=()
for one in "${series[@]}"; do
    results+=("$vm/result-$one.json")
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
    echo "booting $one"
    run "$one" >"$vm/summary-$one.txt" 2>&1 &
done
wait
for one in "${series[@]}"; do cat "$vm/summary-$one.txt"; done

# Part of the kernels, or of the tests, is no table.
if [[ ${series[*]} == "${all[*]}" && -z ${FILTER:-} ]] &&
    jq -es 'all(.exit != null)' "${results[@]}" >/dev/null; then
    mkdir -p docs
    jq -rs -f tests/vm/table.jq "${results[@]}" >docs/kernels.md
fi

jq -rs '[map(.passed), map(.failed), map(.not_possible | length)] | map(add)
        | "\(.[0]) passed, \(.[1]) failed, \(.[2]) skipped"' "${results[@]}"
jq -es 'all(.failed == 0)' "${results[@]}" >/dev/null
