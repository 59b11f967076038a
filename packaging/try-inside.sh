#!/bin/bash
# The steps of try.sh, inside the Debian that it has made.
set -eEuo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8

failed() {
    echo "try: FAILED: $*"
    [ ! -d /run/systemd/system ] || journalctl -u ringmq --no-pager | tail -n 40
    exit 1
}
trap 'failed "line $LINENO"' ERR

step() { echo "try: $*"; }

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

# Without systemd the unit's ExecStart= runs under its user, with the folders that it asks for.
unit=/usr/lib/systemd/system/ringmq.service
of_unit() { sed -n "s/^$1=//p" $unit; }
start() {
    if [ -d /run/systemd/system ]; then
        systemctl start ringmq
    else
        user=$(of_unit User)
        install -d -o "$user" -g "$user" "/run/$(of_unit RuntimeDirectory)"
        read -ra command <<<"$(of_unit ExecStart)"
        RUNTIME_DIRECTORY=/run/ringmq setpriv --reuid="$user" --regid="$user" --clear-groups \
            --no-new-privs --bounding-set=-all --inh-caps=-all "${command[@]}" >>/root/broker 2>&1 &
    fi
    until_ok ringmq health
}
stop() {
    if [ -d /run/systemd/system ]; then systemctl stop ringmq; else pkill -x ringmq; fi
    is_gone() { ! pgrep -x ringmq; }
    until_ok is_gone
}
log() { if [ -d /run/systemd/system ]; then journalctl -u ringmq --no-pager "$@"; else cat /root/broker; fi; }
retained() { [ "$(mosquitto_sub -h 127.0.0.1 -t kept -C 1 -W 10)" = "$1" ]; }

step "install"
dpkg -i /root/first.deb
[ -d /run/systemd/system ] || start
until_ok ringmq health
[ "$(ps -o user= -C ringmq)" = ringmq ]
[ "$(stat -c '%U %a' /var/lib/ringmq)" = "ringmq 750" ]
ringmq check /etc/ringmq/ringmq.toml
bash -c 'source /usr/share/bash-completion/completions/ringmq && complete -p ringmq' >/dev/null
log | grep -o 'io_uring.*\|epoll.*' | head -n 1 | sed 's/^/try: engine: /'

step "publish"
mosquitto_pub -h 127.0.0.1 -t kept -m one -r -q 1
retained one

if [ -d /run/systemd/system ]; then
    step "reload, and what systemd says of the unit"
    systemctl is-enabled ringmq
    systemctl reload ringmq
    told() { journalctl -u ringmq | grep -q Reloaded; }
    until_ok told
    [ -z "$(journalctl -q -u ringmq -p warning)" ] || failed "warnings: $(journalctl -u ringmq -p warning)"
    [ "$(systemctl show -P NRestarts ringmq)" = 0 ]
    systemctl show -P StatusText ringmq | grep -qx Serving
    ! log | grep -q token= || failed "the journal has a token"
    systemd-analyze security ringmq.service | tail -n 1
fi

step "upgrade: data and edited files stay"
echo '# A line of the owner.' >>/etc/ringmq/ringmq.toml
[ -d /run/systemd/system ] || stop
dpkg -i --force-confdef --force-confold /root/next.deb
[ -d /run/systemd/system ] || start
until_ok ringmq health
grep -qx '# A line of the owner.' /etc/ringmq/ringmq.toml
never grep 'next version' /etc/ringmq/ringmq.toml
retained one
mosquitto_pub -h 127.0.0.1 -t kept -m two -r -q 1

if [ -d /run/systemd/system ]; then
    step "systemd holds the socket"
    systemctl stop ringmq
    systemctl enable --now ringmq.socket
    # A client comes before there is a broker, and starts it.
    retained two
    log | grep -q "is the service manager's socket" || failed "the socket is not taken over"
    systemctl restart ringmq
    retained two
fi

step "remove: settings and data stay"
[ -d /run/systemd/system ] || stop
dpkg -r ringmq
never pgrep -x ringmq
[ ! -e /usr/bin/ringmq ]
[ -e /etc/ringmq/ringmq.toml ]
[ -n "$(ls /var/lib/ringmq)" ]

step "install again: they are used"
dpkg -i --force-confdef --force-confold /root/next.deb
# The start was masked while it was removed, and is not any more.
start
retained two

step "purge"
[ -d /run/systemd/system ] || stop
dpkg -P ringmq
for path in /etc/ringmq /var/lib/ringmq $unit; do [ ! -e $path ]; done
never pgrep -x ringmq
echo "try: all steps passed"
