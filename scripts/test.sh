#!/usr/bin/env bash
# All tests: formatting, lints, documentation, unit and integration tests, conformance vectors,
# simulator seeds, other people's clients. Installs what those need.
#
#   scripts/test.sh             # what a change must pass
#   scripts/test.sh --quick     # before a commit: under 3 minutes on 2 cores once dependencies are
#                               # built; installs nothing, and leaves out other people's clients,
#                               # most tests over sockets, counts of memory, most seeds
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    echo "== $*" >&2
    "$@"
}

case "${1:-}" in
    '') ;;
    --quick)
        step cargo fmt --all --check
        step cargo clippy --package ringmq --package ringmq-mqtt --package ringmq-sim \
            --all-targets --locked -- -D warnings
        step cargo test --package ringmq --package ringmq-mqtt --locked --quiet --lib --test tidy \
            --test codec --test topics --test vulnerabilities --test permissions --test backpressure \
            --test wills --test store_records --test storage_document --test conformance
        step cargo run --package ringmq-sim --locked --quiet --bin simulate 0..500
        exit
        ;;
    *)
        echo "usage: $0 [--quick]" >&2
        exit 2
        ;;
esac

step scripts/install-test-tools.sh
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' step cargo doc --workspace --no-deps --locked --quiet
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --locked --log-level error check bans licenses sources
fi
step cargo test --workspace --locked
