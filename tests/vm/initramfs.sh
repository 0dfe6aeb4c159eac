#!/bin/bash
# Usage: initramfs.sh OUT SOCKLEAK LEAKER TEST...
# Packs the guests' file system: the programs under test, which need nothing else; busybox, to have a
# shell; and the host's `ss` and `ip` with their libraries, for the tests to compare with.
set -euo pipefail

out=$1 sockleak=$2 leaker=$3
shift 3
root=$(mktemp -d)
chmod 755 "$root" # it becomes the guests' /, and tests run as nobody, too
trap 'rm -r "$root"' EXIT

mkdir -p "$root"/{bin,tests,usr/bin}
install "$(dirname "$0")/init" "$root/init"
install "$sockleak" "$root/bin/sockleak"
install "$leaker" "$root/bin/leaker"
for test; do
    name=$(basename "$test")
    install "$test" "$root/tests/${name%-*}" # cargo adds a hash
done
install_tool() {
    install "$1" "$2"
    # The path in `lib => /path (0x...)`, or the loader's own; a static program has none.
    (ldd "$1" || true) 2>/dev/null | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' |
        xargs -r cp -L --parents -t "$root"
}
install_tool "$(command -v busybox)" "$root/bin"
install_tool "$(command -v ss)" "$root/usr/bin"
install_tool "$(command -v ip)" "$root/usr/bin"

(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$out"
