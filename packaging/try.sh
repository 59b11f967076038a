#!/usr/bin/env bash
# Tries a Debian package in a Debian of its own: try.sh FILE.deb
#
# Installs it, publishes, reloads, upgrades it to a next version (data and edited files stay), has
# systemd hold its socket, removes and purges it. systemd runs inside where systemd-nspawn can boot
# it; elsewhere the unit's ExecStart= runs under the unit's User=. Needs root, mmdebstrap or
# debootstrap, and Debian's packages; says so in one line and ends with 0 where these are not there.
# At most 10 minutes; nothing is left behind. RINGMQ_SUITE names another Debian than bookworm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
package=$(realpath "$1")

skip() {
    echo "try.sh: skipped: $*"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "root is needed"
command -v dpkg-deb >/dev/null || skip "dpkg is needed"
suite=${RINGMQ_SUITE:-bookworm}
inside=adduser,systemd,systemd-sysv,dbus,mosquitto-clients,procps

work=$(mktemp -d)
root=$work/root
clean_up() {
    # A root that is still in use is not removed: mounts below it may be those of this machine.
    grep -q " $work/" /proc/self/mounts || rm -rf --one-file-system "$work"
}
trap clean_up EXIT

echo "== a Debian $suite" >&2
if command -v mmdebstrap >/dev/null; then
    timeout 300 mmdebstrap --quiet --variant=minbase --include="$inside" "$suite" "$work/root.tar" ||
        skip "Debian's packages cannot be had"
    mkdir "$root"
    tar -C "$root" -xf "$work/root.tar"
    rm "$work/root.tar"
elif command -v debootstrap >/dev/null; then
    timeout 300 debootstrap --variant=minbase --include="$inside" "$suite" "$root" >"$work/log" ||
        skip "Debian's packages cannot be had"
else
    skip "mmdebstrap or debootstrap is needed"
fi

echo "== the next version of the package" >&2
dpkg-deb -R "$package" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
echo '# A line of the next version.' >>"$work/next/etc/ringmq/ringmq.toml"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/next" "$root/root/next.deb" >/dev/null
cp "$package" "$root/root/first.deb"
install -m 755 "$here/try-inside.sh" "$root/root/try-inside.sh"

# A unit inside runs the steps, since no machined has to be there.
cat >"$root/etc/systemd/system/try.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/root/try-inside.sh
StandardOutput=file:/root/log
StandardError=file:/root/log
ExecStopPost=systemctl poweroff --force
END
ln -s ../try.service "$root/etc/systemd/system/graphical.target.wants/try.service" 2>/dev/null || {
    mkdir -p "$root/etc/systemd/system/graphical.target.wants"
    ln -s ../try.service "$root/etc/systemd/system/graphical.target.wants/try.service"
}

if command -v systemd-nspawn >/dev/null; then
    echo "== systemd inside" >&2
    timeout --kill-after=10 200 systemd-nspawn --quiet --directory="$root" --boot --register=no \
        --keep-unit --private-network --resolv-conf=off \
        --system-call-filter='io_uring_setup io_uring_enter io_uring_register' \
        </dev/null >"$work/boot" 2>&1 || true
fi
if [ ! -s "$root/root/log" ]; then
    command -v ip >/dev/null || skip "iproute2 is needed"
    echo "== no systemd inside: ExecStart= of the unit" >&2
    timeout --kill-after=10 200 unshare --mount --pid --net --fork --kill-child sh -c '
        ip link set lo up
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --make-rslave "$1/dev"
        exec chroot "$1" /root/try-inside.sh' sh "$root" >"$root/root/log" 2>&1 || true
fi
cat "$root/root/log"
grep -qx 'try: all steps passed' "$root/root/log"
