#!/usr/bin/env bash
# What it costs to be watched: see scripts/watching.py. `--help` tells what can be chosen.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --locked --quiet
exec python3 scripts/watching.py "$@"
