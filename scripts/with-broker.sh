#!/usr/bin/env bash
# Runs a command against a broker of its own: with-broker.sh [BROKER FLAG]... -- COMMAND...
# PORT in the command stands for the port. The exit status is the command's.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

flags=()
while [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
shift

log=$(mktemp)
"$root/target/release/ringmq" --listen 127.0.0.1:0 --log-level warn "${flags[@]}" >"$log" &
broker=$!
trap 'kill $broker 2>/dev/null || true; wait $broker 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 100); do
    port=$(sed -n 's/^listening on mqtt:\/\/.*:\([0-9]*\)$/\1/p' "$log" | head -n 1)
    [ -n "$port" ] && break
    sleep 0.05
done
"${@//PORT/$port}"
