#!/usr/bin/env bash
# ringmq beside the other brokers that are installed, on this machine: a table, a page with plots
# and the raw data in perf/results/. `scripts/compare.sh --help` tells what can be chosen.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --locked --quiet
exec python3 scripts/compare.py "$@"
