#!/usr/bin/env bash
# Tries a container image without a container's runtime: try-image.sh ARCHIVE.tar
#
# Unpacks what packaging/image.sh has made and runs it in namespaces of its own, with the image's
# user, a read-only root and a data folder, under the seccomp profile of Debian's containers, which
# knows no io_uring, and under the same with io_uring. Needs root, python3-seccomp, the profile and
# Mosquitto's clients; says so in one line and ends with 0 where these are not there. Bounded in
# time; nothing is left behind.
set -eEuo pipefail
here=$(cd "$(dirname "$0")" && pwd)
archive=$(realpath "$1")
profile=/usr/share/containers/seccomp.json

skip() {
    echo "try-image.sh: skipped: $*"
    exit 0
}
if [ -z "${RINGMQ_INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || skip "root is needed"
    [ "$(uname -m)" = x86_64 ] || skip "the image is for x86-64"
    [ -e $profile ] || skip "$profile is needed (golang-github-containers-common)"
    /usr/bin/python3 -c 'import seccomp' 2>/dev/null || skip "python3-seccomp is needed"
    for program in mosquitto_pub mosquitto_sub ip unshare; do
        command -v $program >/dev/null || skip "$program is needed"
    done
    work=$(mktemp -d)
    status=0
    RINGMQ_INSIDE=$work timeout --kill-after=10 240 unshare --mount --net --pid --fork \
        --mount-proc --kill-child "$0" "$archive" || status=$?
    # The mounts have gone with their namespace.
    rm -rf --one-file-system "$work"
    exit $status
fi

work=$RINGMQ_INSIDE
failed() {
    echo "try-image: FAILED: $*"
    tail -n 20 "$work"/out "$work"/err 2>/dev/null || true
    exit 1
}
trap 'failed "line $LINENO"' ERR
step() { echo "try-image: $*"; }
# Until a command succeeds, for half a minute at most.
until_ok() {
    for _ in $(seq 300); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    failed "$*"
}

# Refuses a command that succeeds.
never() { ! "$@" >/dev/null 2>&1 || failed "this succeeds: $*"; }

ip link set lo up
mkdir "$work/image" "$work/root" "$work/data" "$work/conf"
tar -C "$work/image" -xf "$archive"
config=$(python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Config"])' <"$work/image/manifest.json")
config=$work/image/$config
python3 -c 'import json, sys; print(*json.load(sys.stdin)[0]["Layers"], sep="\n")' \
    <"$work/image/manifest.json" | while read -r layer; do
    tar -C "$work/root" --numeric-owner -xpf "$work/image/$layer"
done

user=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["User"])' <"$config")

step "the owner's files: a password"
install -m 644 "$work/root/etc/ringmq/ringmq.toml" "$work/conf"
sed -i 's/^#password-file/password-file/' "$work/conf/ringmq.toml"
"$work/root/usr/bin/ringmq" passwd --batch --create "$work/conf/users" me <<<secret
chown "0:${user#*:}" "$work/conf/users"
chmod 640 "$work/conf/users"

step "a read-only root"
mkdir "$work/root/proc" "$work/root/dev"
mount --bind "$work/root" "$work/root"
mount -t proc proc "$work/root/proc"
mount -t tmpfs tmpfs "$work/root/dev"
for device in null zero random urandom; do
    touch "$work/root/dev/$device"
    mount --bind "/dev/$device" "$work/root/dev/$device"
done
mount --bind "$work/data" "$work/root/var/lib/ringmq"
mount --bind "$work/conf" "$work/root/etc/ringmq"
mount -o remount,bind,ro "$work/root/etc/ringmq"
mount -o remount,bind,ro "$work/root"
never touch "$work/root/x"

# Arguments: [--allow NAMES] [--health] [ARGUMENT...]
become() { exec /usr/bin/python3 "$here/confine.py" "$config" "$work/root" $profile "$@"; }
confined() { (become "$@"); }

step "a data folder of root's: one line says what to do"
status=0
confined >"$work/out" 2>"$work/err" || status=$?
[ $status = 1 ]
[ "$(grep -c '^ringmq: ' "$work/err")" = 1 ]
grep '^ringmq: ' "$work/err"
grep -q "as root: chown -R $user /var/lib/ringmq\$" "$work/err"

chown -R "$user" "$work/data"
# run ENGINE [ARGUMENT...]: starts it, and has it serve and end.
run() {
    local engine=$1 pid status=0
    shift
    become "$@" >"$work/out" 2>"$work/err" &
    pid=$!
    until_ok confined "${allow[@]}" --health
    grep "^$engine" "$work/out"
    grep -E '^(NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr '\n' ' '
    grep -E '^(Uid|CapEff|CapPrm):' "/proc/$pid/status" | tr -s '\t' ' ' | tr '\n' ' '
    echo
    grep -q "^Uid:.${user%:*}.${user%:*}" "/proc/$pid/status"
    mosquitto_pub -h 127.0.0.1 -u me -P secret -q 1 -r -t "of/$engine" -m "$engine"
    [ "$(mosquitto_sub -h 127.0.0.1 -u me -P secret -t "of/$engine" -C 1 -W 10)" = "$engine" ]
    never mosquitto_pub -h 127.0.0.1 -t a -m b
    kill -TERM $pid
    wait $pid || status=$?
    [ $status = 0 ] || failed "the exit status is $status"
}
allow=()
step "Debian's profile, without io_uring"
run epoll
grep WARN "$work/err"
allow=(--allow io_uring_setup,io_uring_enter,io_uring_register)
step "the same profile with io_uring"
run io_uring "${allow[@]}"
never grep WARN "$work/err"
step "what was kept is there"
run io_uring "${allow[@]}" --listen 127.0.0.1:1883
become "${allow[@]}" >"$work/out" 2>"$work/err" &
pid=$!
until_ok confined "${allow[@]}" --health
[ "$(mosquitto_sub -h 127.0.0.1 -u me -P secret -t of/epoll -C 1 -W 10)" = epoll ]
kill -TERM $pid
wait $pid
echo "try-image: all steps passed"
