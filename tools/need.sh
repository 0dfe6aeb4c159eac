#!/bin/sh
# Usage: need.sh PROGRAM:PACKAGE...
# Installs the Debian package of each program (or file, by its path) that this machine lacks.
set -eu

missing=
for pair; do
    what=${pair%%:*}
    case $what in
        /*) test -e "$what" ;;
        *) command -v "$what" >/dev/null ;;
    esac || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq --no-install-recommends $missing >/dev/null
