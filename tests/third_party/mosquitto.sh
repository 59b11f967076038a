#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub against the broker: mosquitto.sh HOST PORT
set -euo pipefail
host=$1 port=$2
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

fail() { echo "mosquitto: $*" >&2; exit 1; }
pub() { mosquitto_pub -h "$host" -p "$port" "$@"; }
sub() { timeout 120 stdbuf -oL mosquitto_sub -h "$host" -p "$port" "$@"; }
# Starts a subscriber in the background, its output in a file, and waits until it is subscribed:
# background FILE COMMAND...
background() {
    local file=$1
    shift
    : > "$file"
    "$@" > "$file" &
    for _ in $(seq 2400); do
        grep -q 'Subscribed' "$file" && return
        sleep 0.05
    done
    fail "no SUBACK in $file"
}

for version in mqttv31 mqttv311 mqttv5; do
    for qos in 0 1 2; do
        topic=mosquitto/$version/$qos
        background "$work/out" sub -V $version -d -q $qos -t "$topic/+" -C 3
        subscriber=$!
        for i in 1 2 3; do pub -V $version -q $qos -t "$topic/$i" -m "message $i"; done
        wait $subscriber || fail "$version QoS $qos: not all came"
        [ "$(grep -c '^message [123]$' "$work/out")" = 3 ] || fail "$version QoS $qos: $(cat "$work/out")"
    done

    topic=mosquitto/$version/retained
    pub -V $version -r -q 1 -t "$topic" -m kept
    [ "$(sub -V $version -t "$topic" -C 1 -F '%r %p')" = '1 kept' ] || fail "$version: retained"
    pub -V $version -r -q 1 -t "$topic" -n
    sub -V $version -t "$topic" -C 1 -W 1 >/dev/null && fail "$version: cleared, and still there"

    topic=mosquitto/$version/will
    background "$work/out" sub -V $version -d -t "$topic" -C 1
    watcher=$!
    background "$work/lost" stdbuf -oL mosquitto_sub -V $version -h "$host" -p "$port" -d \
        -i "lost-$version" -t none --will-topic "$topic" --will-payload gone --will-qos 1
    lost=$!
    kill -9 $lost
    wait $watcher || fail "$version: no will"
    grep -qx gone "$work/out" || fail "$version: another will: $(cat "$work/out")"

    topic=mosquitto/$version/session
    sub -V $version -d -i "session-$version" -c -x 60 -q 1 -t "$topic" -E > "$work/out"
    pub -V $version -q 1 -t "$topic" -m while-away
    [ "$(sub -V $version -i "session-$version" -c -x 60 -q 1 -t "$topic" -C 1)" = while-away ] ||
        fail "$version: nothing was queued"
done

members=()
for member in 1 2; do
    # A job of its own, which `kill` reaches.
    background "$work/member$member" timeout 120 stdbuf -oL mosquitto_sub -h "$host" -p "$port" \
        -V mqttv5 -d -q 1 -t '$share/group/mosquitto/shared'
    members+=($!)
done
for i in $(seq 20); do echo "shared $i"; done | pub -V mqttv5 -q 1 -t mosquitto/shared -l
shared() { cat "$work"/member* | grep '^shared '; }
for _ in $(seq 2400); do
    [ "$(shared | sort -u | wc -l)" = 20 ] && break
    sleep 0.05
done
# A copy too many would come about now.
sleep 0.5
kill "${members[@]}"
[ "$(shared | sort -u | wc -l)" = 20 ] || fail 'shared: lost'
[ "$(shared | wc -l)" = 20 ] || fail 'shared: came twice'
[ "$(grep -c '^shared ' "$work/member1")" -gt 0 ] || fail 'shared: one member got none'
