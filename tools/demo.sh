#!/bin/bash
# Usage: demo.sh SOCKLEAK LEAKER
# The blog post's scenario: a server that accepts and never closes, clients that connect and leave. Shows
# the leak as `sockleak watch` finds it, tells the server (SIGHUP) to close, and shows the leak gone.
set -euo pipefail

sockleak=$1 leaker=$2 deadline=15
out=$(mktemp -d)
trap 'jobs -rp | xargs -r kill; rm -r "$out"' EXIT

# Runs the rest of its arguments until they succeed.
eventually() {
    local what=$1 end=$((SECONDS + deadline))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            echo "demo failed: $what" >&2
            exit 1
        fi
        sleep 0.1
    done
}

"$leaker" serve 127.0.0.1:0 >"$out/server" &
server=$!
eventually "the server does not listen" test -s "$out/server"
address=127.0.0.1:$(head -n 1 "$out/server")

"$sockleak" watch --pid $server --interval 500ms >"$out/watch" &
echo "\$ four clients connect to $address, and leave"
"$leaker" visit "$address" 4
eventually "the leak was not found" grep -q "^leaker\[$server\]: 4 leaked" "$out/watch"
echo "\$ sockleak watch"
tail -n 7 "$out/watch"

echo "\$ kill -HUP $server    (the server closes what it holds)"
kill -HUP $server
nothing_leaked() {
    "$sockleak" list --pid $server >"$out/list" # exits 0 when nothing is
}
eventually "the leak is still there: $(cat "$out/list" 2>/dev/null)" nothing_leaked
echo "\$ sockleak list --pid $server; echo \$?"
echo 0

echo "The leak was found, and is gone."
