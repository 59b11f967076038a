#!/usr/bin/env bash
# The fault tests: each starts a broker of its own and provokes faults of clients, or of the system.
#
#   scripts/faults.sh                                  # all of them at full size: about 3 hours
#   scripts/faults.sh --small                          # all of them, in under 3 minutes
#   scripts/faults.sh stopped-readers --seconds 60     # one of them; `--help` behind it tells more
#   scripts/faults.sh --judge-times --json-dir DIR     # times count, too; a file of numbers each
#
# Tests: stopped-readers, reconnect-storm, takeovers, retained-slow, descriptors, memory, soak.
# Exit status 0: every goal is met; 1: one is not; 2: a test could not be carried out.
# `RINGMQ` names another binary than the release build. bench/README.md says what the numbers mean.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=(stopped-readers reconnect-storm takeovers retained-slow descriptors memory soak)
flags=()
chosen=
folder=
while [ $# -gt 0 ]; do
    case $1 in
        --json-dir) folder=$2 && shift ;;
        --json-dir=*) folder=${1#*=} ;;
        -*) flags+=("$1") ;;
        *)
            if [ -z "$chosen" ]; then
                chosen=yes
                tests=("$1")
            else
                flags+=("$1")
            fi
            ;;
    esac
    shift
done
[ -z "$folder" ] || mkdir -p "$folder"

build() {
    cargo build --release --locked --quiet -j "${CARGO_BUILD_JOBS:-1}" "$@" || exit 2
}
build --package ringmq-bench
[ -n "${RINGMQ:-}" ] || build --package ringmq --bin ringmq

work=$(mktemp -d)
pid=
clean_up() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
# A copy: another build does not change what is tested.
cp "${RINGMQ:-target/release/ringmq}" "$work/ringmq"
cp target/release/ringmq-bench "$work/ringmq-bench"

status=0
for test in "${tests[@]}"; do
    json=()
    [ -z "$folder" ] || json=(--json "$folder/$test.json")
    result=0
    # In the background, so that a signal to this script reaches the test; the broker ends with it.
    "$work/ringmq-bench" faults "$test" --binary "$work/ringmq" --folder "$work" \
        "${json[@]}" "${flags[@]}" &
    pid=$!
    wait "$pid" || result=$?
    pid=
    [ "$result" -le "$status" ] || status=$result
done
exit "$status"
