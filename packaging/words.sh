#!/usr/bin/env bash
# Writes man pages, completions and the licences of libraries into target/packaging.
set -euo pipefail
cd "$(dirname "$0")/.."

out=target/packaging
rm -rf $out/man $out/completions
# No variable of the one who calls shall stand in a page as a default.
env -u RINGMQ_CONFIG cargo run --locked --quiet --example words -- $out
packaging/third-party.py | gzip -9n >$out/THIRD-PARTY.gz
