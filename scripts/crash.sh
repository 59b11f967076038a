#!/usr/bin/env bash
# The crash test: kills a broker under a mixed load again and again, and checks that nothing it
# acknowledged is lost, doubled or out of order.
#
#   scripts/crash.sh --cycles 2000 --minutes 40 --seed 1
#   scripts/crash.sh --cycles 60 --target mosquitto-autosave
#   scripts/crash.sh --cycles 200 --points            # also at named points, with many passes and
#                                                     # wrong wall clocks
#   scripts/crash.sh --cycles 200 --bug lost-pubrel   # a planted bug: status 1 says that it is found
#
# Exit status 0: nothing was wrong; 1: something was; 2: it could not be carried out. `--help` tells
# the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

features=()
needs_ringmq=yes
for argument in "$@"; do
    case $argument in
        --points | --bug | --bug=*) features=(--features faults) ;;
        mosquitto* | --target=mosquitto*) needs_ringmq= ;;
    esac
done

binary=$(mktemp)
trap 'rm -f "$binary"' EXIT
build() {
    cargo build --release --locked --quiet -j "${CARGO_BUILD_JOBS:-1}" "$@" || exit 2
}
build --package ringmq-crash
if [ -n "$needs_ringmq" ]; then
    build --package ringmq --bin ringmq "${features[@]}"
    # A copy: another build does not change what is tested, and none with faults stays behind.
    cp target/release/ringmq "$binary"
    chmod +x "$binary"
    [ ${#features[@]} -eq 0 ] || rm target/release/ringmq
fi
status=0
target/release/ringmq-crash --binary "$binary" "$@" || status=$?
exit $status
