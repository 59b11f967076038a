#!/usr/bin/env bash
# All tests: formatting, lints, documentation, unit and integration tests, conformance vectors,
# simulator seeds, other people's clients. Installs what those need.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    echo "== $*" >&2
    "$@"
}

step scripts/install-test-tools.sh
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS='-D warnings' step cargo doc --workspace --no-deps --locked --quiet
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --locked --log-level error check bans licenses sources
fi
step cargo test --workspace --locked
