#!/usr/bin/env bash
# Makes the Debian package from target/release/ringmq, or builds that first: deb.sh [--no-build].
# The last line is the package's path. Needs cargo-deb, dpkg-dev and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "${1:-}" = --no-build ] || cargo build --release --locked --bin ringmq >&2
packaging/words.sh >&2
version=$(cargo metadata --format-version 1 --no-deps --locked |
    python3 -c 'import json, sys; print(next(package["version"]
        for package in json.load(sys.stdin)["packages"] if package["name"] == "ringmq"))')
out=target/packaging
# The same commit makes the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
cat >$out/changelog <<END
ringmq ($version-1) unstable; urgency=medium

  * CHANGELOG.md of the sources tells what is new in $version.

 -- The ringmq authors <ringmq@users.noreply.github.com>  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
gzip -9n <CHANGELOG.md >$out/CHANGELOG.gz
cargo deb --no-build --locked --quiet --strip
