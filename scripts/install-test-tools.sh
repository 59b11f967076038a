#!/usr/bin/env bash
# Installs what the tests with other people's programs need, where it is missing: Debian's mosquitto,
# mosquitto-clients, openssl, chromium and Node.js, and in .test-env Python's paho-mqtt, gmqtt,
# aiomqtt, scramp, websockets and schemathesis and npm's mqtt, puppeteer-core and axe-core. Says what
# to install by hand where it may not.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian has the broker outside the path of ordinary users.
PATH=$PATH:/usr/sbin
missing=()
command -v mosquitto_pub >/dev/null && command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
command -v mosquitto_passwd >/dev/null || missing+=(mosquitto)
command -v openssl >/dev/null || missing+=(openssl)
command -v chromium >/dev/null || missing+=(chromium)
command -v npm >/dev/null || missing+=(nodejs npm)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "$0: install these packages and run it again: ${missing[*]}" >&2
        exit 1
    fi
fi

env=.test-env
python=$env/venv/bin/python
if ! $python -c 'import paho.mqtt, gmqtt, aiomqtt, scramp, websockets, schemathesis' 2>/dev/null; then
    python3 -m venv $env/venv
    $python -m pip install --quiet --disable-pip-version-check -r scripts/test-tools.txt
fi
if [ ! -d $env/node_modules/mqtt ] || [ ! -d $env/node_modules/puppeteer-core ] \
    || [ ! -d $env/node_modules/axe-core ]; then
    npm install --silent --no-audit --no-fund --prefix $env \
        'mqtt@5' 'puppeteer-core@24' 'axe-core@4.14.1' >/dev/null
fi
