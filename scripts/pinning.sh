#!/usr/bin/env bash
# What pinning, busy polling and the number of workers buy on this machine: the same two loads over
# each choice, with the latency histograms beside each other. `--help` tells what can be chosen.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --locked --quiet
exec python3 scripts/pinning.py "$@"
