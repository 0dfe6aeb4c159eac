#!/bin/bash
# Usage: fetch.sh CACHE SERIES...
# Puts Debian's newest cloud kernel of each series (5.10, 6.1, ..., or 7 for any 7.x) into CACHE/SERIES:
# vmlinuz, and modules.cpio with the modules that `ss` needs. A series that is there already is not fetched again.
#
# apt does the fetching, in a root of its own, so that the chain of checksums is apt's: the signature
# covers Release, Release covers Packages, Packages covers the package.
set -euo pipefail

cache=$(realpath -m "$1")
shift
apt=$cache/apt

# What `ss` talks to, in load order. The rest of what the tests use is built into Debian's kernels.
modules=(inet_diag tcp_diag udp_diag unix_diag)

in_root() {
    local tool=$1
    shift
    "$tool" -qq \
        -o Dir::State="$apt/state" -o Dir::Cache="$apt/cache" -o APT::Architecture=amd64 \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# Where this machine's own apt finds an archive (debian or debian-security).
mirror() {
    apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' |
        awk -v name="/$1/?\$" '$0 ~ name { uri = $0 } END { print uri; exit !uri }' ||
        { echo "this machine's apt has no source for $1" >&2; return 1; }
}

sources() {
    local debian security
    debian=$(mirror debian)
    security=$(mirror debian-security)
    local signed=signed-by=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [$signed] $debian bullseye main"
    # An archived suite's Release file is not renewed any more.
    echo "deb [$signed check-valid-until=no] $security bullseye-security main"
    echo "deb [$signed] $security bookworm-security main"
    echo "deb [$signed] $debian bookworm-backports main"
    echo "deb [$signed] $debian trixie-backports main"
}

update() {
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    sources >"$apt/sources.list"
    # Suites move to the archive in time; what counts is whether each series is found in the others.
    # apt keeps nothing of a suite whose signature it could not check.
    in_root apt-get update || echo "going on with the suites that apt could read" >&2
}

newest_version() {
    in_root apt-cache madison linux-image-cloud-amd64 | awk '{ print $3 }' |
        { grep "^${1//./\\.}\\." || true; } | sort -V | tail -n 1
}

# `uname -r`, which is what the meta package depends on.
release_of() {
    in_root apt-cache show "linux-image-cloud-amd64=$1" |
        sed -n 's/^Depends:.*linux-image-\([^ ,]*\).*/\1/p'
}

# A kernel is one package up to 6.x, and three since.
packages_of() {
    in_root apt-cache pkgnames linux- | grep -xE "linux-(image|binary|modules)-${1//+/\\+}"
}

unpack() {
    local into=$1 deb file i
    mkdir -p "$into"/{root,modules}
    for deb in "$into"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar x -C "$into/root"
    done
    find "$into/root" -type f -name 'vmlinuz*' -exec cp {} "$into/vmlinuz" \;
    test -s "$into/vmlinuz"
    for i in "${!modules[@]}"; do
        file=$(find "$into/root" -name "${modules[i]}.ko*")
        case $file in
            *.ko) cat "$file" ;;
            *.ko.xz) xz -dc "$file" ;;
            *) echo "no module ${modules[i]} in $into" >&2; return 1 ;;
        esac >"$into/modules/$i-${modules[i]}.ko" # the digit is the load order
    done
    (cd "$into" && find modules | cpio -o -H newc -R 0:0 --quiet >modules.cpio)
    rm -r "$into"/{root,modules} "$into"/*.deb
}

fetch() {
    local series=$1 version release packages partial=$cache/$1.partial
    version=$(newest_version "$series")
    [[ -n $version ]] || { echo "no kernel $series on the mirror" >&2; return 1; }
    release=$(release_of "$version")
    mapfile -t packages < <(packages_of "$release")
    echo "fetching Debian's $release"

    # Complete or absent: an interrupted fetch leaves no kernel behind.
    rm -rf "$partial"
    mkdir "$partial"
    (cd "$partial" && in_root apt-get download "${packages[@]/%/=$version}")
    unpack "$partial"
    mv "$partial" "$cache/$series"
}

missing=()
for series; do
    [[ -d $cache/$series ]] || missing+=("$series")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

update
for series in "${missing[@]}"; do
    fetch "$series"
done
rm -r "$apt"
