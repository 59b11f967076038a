#!/usr/bin/env bash
# Makes the container image from a static program: image.sh PROGRAM ARCHIVE.tar
#
# The archive is one that `podman load` and `docker load` take: in OCI's own form there is no
# HEALTHCHECK. Needs podman, and no registry.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$1 archive=$(realpath -m "$2")

version=$("$program" --version | cut -d ' ' -f 2)
context=$(mktemp -d)
clean_up() { rm -r "$context"; }
trap clean_up EXIT
time=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
root=$context/root
install -d "$context/tree" "$root/usr/bin" "$root/etc/ringmq" "$root/var/lib" "$root/run"
install -d -m 700 "$root/var/lib/ringmq"
strip -o "$root/usr/bin/ringmq" "$program"
chmod 755 "$root/usr/bin/ringmq"
install -m 644 "$here/container.toml" "$root/etc/ringmq/ringmq.toml"
# The same commit makes the same layer, whoever runs this.
pack() {
    tar --file "$context/tree/root.tar" --directory "$root" --sort=name --mtime="@$time" \
        --numeric-owner --no-recursion "$@"
}
pack --create --owner=0 --group=0 usr usr/bin usr/bin/ringmq etc etc/ringmq \
    etc/ringmq/ringmq.toml var var/lib
pack --append --owner=65532 --group=65532 var/lib/ringmq run
rm -r "$root"
# A store of its own works within containers, too, and leaves nothing behind.
podman() {
    command podman --root "$context/store" --runroot "$context/run" --storage-driver vfs "$@"
}
podman build --quiet --format docker --isolation chroot --timestamp "$time" \
    --label "org.opencontainers.image.title=ringmq" \
    --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.licenses=MIT OR Apache-2.0" \
    --tag "localhost/ringmq:$version" --file "$here/Containerfile" "$context/tree" >&2
rm -f "$archive"
podman save --quiet --format docker-archive --output "$archive" "localhost/ringmq:$version" >&2
echo "$archive"
