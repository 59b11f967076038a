#!/usr/bin/env bash
# Runs a command against a broker of its own: with-broker.sh [BROKER FLAG]... -- COMMAND...
#
# PORT in the command stands for the port; TLS_PORT and WS_PORT for those of TLS and WebSocket;
# BRIDGE_PORT for one that takes MQTT over TCP to the broker's WebSocket. RINGMQ names another
# binary than the release build. The exit status is the command's.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

flags=()
while [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
shift

work=$(mktemp -d)
pids=()
clean_up() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# First what a program printed into $1 that the expression $2 takes out, waited for.
printed() {
    for _ in $(seq 100); do
        found=$(sed -n "$2" "$work/$1" | head -n 1)
        [ -n "$found" ] && echo "$found" && return
        sleep 0.05
    done
    echo "$0: $1 does not start" >&2
    return 1
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout "$work/key" -out "$work/certificate" 2>/dev/null
# Several of these may run side by side.
export RINGMQ_ADMIN_LISTEN=none RINGMQ_ADMIN_SOCKET=none
"${RINGMQ:-$root/target/release/ringmq}" --log-level warn --listen 127.0.0.1:0 \
    --listen mqtts://127.0.0.1:0 --listen ws://127.0.0.1:0 \
    --tls-cert "$work/certificate" --tls-key "$work/key" "${flags[@]}" >"$work/broker" &
pids+=($!)
port=$(printed broker 's/^listening on mqtt:\/\/.*:\([0-9]*\)$/\1/p')
tls_port=$(printed broker 's/^listening on mqtts:\/\/.*:\([0-9]*\)$/\1/p')
ws_port=$(printed broker 's/^listening on ws:\/\/.*:\([0-9]*\)\/mqtt$/\1/p')

command=("${@//BRIDGE_PORT/@BRIDGE@}")
if [[ ${command[*]} = *@BRIDGE@* ]]; then
    "$root/.test-env/venv/bin/python" "$root/scripts/websocket-bridge.py" \
        "ws://127.0.0.1:$ws_port/mqtt" >"$work/bridge" &
    pids+=($!)
    bridge_port=$(printed bridge 's/^\([0-9]*\)$/\1/p')
    command=("${command[@]//@BRIDGE@/$bridge_port}")
fi
command=("${command[@]//TLS_PORT/$tls_port}")
command=("${command[@]//WS_PORT/$ws_port}")
"${command[@]//PORT/$port}"
