#!/usr/bin/env bash
# Installs what scripts/release.sh needs on a Debian 12, as root. A package that is made there needs
# no newer C library than Debian 12 has.
set -euo pipefail

apt-get update -qq
# The last two lines are for trying the package and the image.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    build-essential cmake dpkg-dev lintian podman buildah python3 \
    mmdebstrap systemd-container iproute2 mosquitto-clients \
    python3-seccomp golang-github-containers-common
cargo install --quiet --locked cargo-deb cargo-cyclonedx
