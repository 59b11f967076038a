#!/usr/bin/env bash
# Where the time goes: profile.sh [LOAD GENERATOR ARGUMENTS...], fanout by default.
#
# Writes into perf/profiles/: a sampled profile of the broker under that load as text (and as a flame
# graph where inferno is installed: cargo install inferno), perf stat's counters where the machine
# has them, and callgrind's instruction counts of the sans-io core, which repeat exactly.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v perf >/dev/null && command -v valgrind >/dev/null ||
    { echo "$0: install linux-perf and valgrind" >&2; exit 1; }
cargo build --release --workspace --examples --locked --quiet

load=("$@")
[ ${#load[@]} -gt 0 ] || load=(fanout --subscribers 1000 --window 64)
name=$(echo "${load[*]}" | tr -c 'a-z0-9\n' '-' | tr -s '-')
out=perf/profiles
commit=$(git describe --always --dirty)
mkdir -p $out
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
target/release/ringmq --listen "127.0.0.1:$port" --workers 1 --pin 0 --log-level warn >/dev/null &
broker=$!
trap 'kill $broker 2>/dev/null || true; rm -rf "$work"' EXIT
sleep 1

target/release/ringmq-bench "${load[@]}" --port "$port" --pid $broker --pin 1 --duration 8 >"$work/run" &
run=$!
sleep 3
perf record -q -g -F 997 -p $broker -o "$work/data" -- sleep 3
perf stat -p $broker -e task-clock,context-switches,instructions,cycles,cache-misses -- sleep 1 2>"$work/stat" || true
wait $run

{
    echo "scripts/profile.sh ${load[*]}"
    echo "commit $commit, Linux $(uname -r), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
    echo
    cat "$work/run" "$work/stat"
    echo "Where the broker's time goes, by function:"
    perf report -i "$work/data" --no-children --percent-limit 0.5 --stdio -g none 2>/dev/null | sed '/^#/d; /^$/d; s/ *$//'
} >"$out/$name.txt"
if command -v inferno-flamegraph >/dev/null; then
    perf script -i "$work/data" 2>/dev/null | inferno-collapse-perf 2>/dev/null |
        inferno-flamegraph >"$out/$name.svg"
fi

# Instructions of the core: the difference between many turns and few, per delivery.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        target/release/examples/hot_loop "$1" "$2" "$3" 2>&1 | sed -n 's/.*Collected : //p'
}
{
    echo "Instructions per delivery in the sans-io core (callgrind, 64 publishes a turn; QoS 1 with"
    echo "the acknowledgement), commit $commit:"
    for qos in 0 1; do
        for subscribers in 1 100 1000; do
            few=$(instructions $qos $subscribers 2)
            many=$(instructions $qos $subscribers 12)
            python3 -c "print(f'QoS $qos, $subscribers subscribers: {($many - $few) / (10 * 64 * $subscribers):.1f}')"
        done
    done
} | tee "$out/instructions.txt"
