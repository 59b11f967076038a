#!/usr/bin/env bash
# Makes the files of a release in target/release-artifacts: a static program for x86-64 as a
# tarball, the Debian package, the container image, the bill of materials (CycloneDX) and
# SHA256SUMS. Tries the package and the image as far as this machine allows.
#
#   scripts/install-release-tools.sh    # once, as root on Debian 12
#   scripts/release.sh                  # of a tree without changes; --dirty takes any
set -euo pipefail
cd "$(dirname "$0")/.."

[ "${1:-}" = --dirty ] || [ -z "$(git status --porcelain)" ] ||
    { echo "$0: the tree has changes; commit them, or say --dirty" >&2; exit 1; }
step() { echo "== $*" >&2; }
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
host=x86_64-unknown-linux-gnu
out=target/release-artifacts
rm -rf $out
mkdir -p $out

step "the static program"
# tokio-uring does not build with musl, so the C library is glibc, which resolves names of hosts by
# itself (files and DNS). getrandom would look for its call in a shared library, and then in /dev.
RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' \
    cargo build --release --locked --target $host --bin ringmq
static=target/$host/release/ringmq
version=$($static --version | cut -d ' ' -f 2)
ldd $static 2>&1 | grep -q 'statically linked'

step "the Debian package"
package=$(packaging/deb.sh)
cp "$package" $out
! command -v lintian >/dev/null || lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs "$package"

step "the tarball"
name=ringmq-$version-x86_64-linux
folder=target/packaging/$name
rm -rf "$folder"
mkdir -p "$folder"
strip -o "$folder/ringmq" $static
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/OPERATING.md docs/OPTIONS.md \
    packaging/ringmq.toml packaging/ringmq.service packaging/ringmq.socket \
    target/packaging/THIRD-PARTY.gz "$folder"
cp -r target/packaging/man target/packaging/completions "$folder"
tar --directory target/packaging --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX --create "$name" | gzip -9n >"$out/$name.tar.gz"

step "the container image"
packaging/image.sh $static "$out/ringmq-$version-image.tar"

step "the bill of materials"
# A file for each package of the workspace; ringmq's is meant.
cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target $host \
    --override-filename sbom.tmp
sed "s|path+file://$PWD|path+file:///ringmq|g" sbom.tmp.json >"$out/ringmq-$version.cdx.json"
git ls-files --others --exclude-standard | grep '\(^\|/\)sbom\.tmp\.json$' | xargs rm

step "tries"
packaging/try.sh "$package"
packaging/try-image.sh "$out/ringmq-$version-image.tar"

(cd $out && sha256sum -- * >SHA256SUMS)
ls -l $out
