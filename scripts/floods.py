#!/usr/bin/env python3
"""What floods of logins and of TLS handshakes do to the latency of everybody else.

One broker with one worker; an open loop of publishes to many subscribers on one listener, alone and
beside a flood on another: logins with wrong passwords, then TLS handshakes, as many as this machine
can make. Prints the percentiles of each. Run it from a release build: scripts/floods.py
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RINGMQ = ROOT / "target/release/ringmq"
BENCH = ROOT / "target/release/ringmq-bench"
# CONNECT of MQTT 3.1.1 as client "f", user "alice", password "wrong".
CONNECT = bytes.fromhex("101b00044d51545404c2003c000166") + b"\0\5alice\0\5wrong"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def log_in_wrongly(port, stop, count):
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port), 30) as s:
            s.sendall(CONNECT)
            if s.recv(4)[3:] == b"\4":
                count.append(1)


def shake_hands(port, stop, count):
    while not stop.is_set():
        command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-time", "1"]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if " real seconds" in line]
        count.append(int(lines[0].split()[0]) if lines else 0)


def load(port, pid, args):
    command = [
        BENCH, "fanout", "--subscribers", args.subscribers, "--rate", args.rate, "--port", port,
        "--pid", pid, "--pin", "1", "--duration", args.duration, "--json",
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    return json.loads(done.stdout)["latency_us"]


def flood(work, threads):
    stop, count = threading.Event(), []
    running = [threading.Thread(target=work, args=(stop, count)) for _ in range(threads)]
    for thread in running:
        thread.start()
    time.sleep(1)
    return stop, count, running


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--subscribers", type=int, default=1000)
    p.add_argument("--rate", type=float, default=60)
    p.add_argument("--duration", type=int, default=8)
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringmq-floods-") as folder:
        run(args, folder)


def run(args, folder):
    users, key, cert = f"{folder}/users", f"{folder}/key.pem", f"{folder}/cert.pem"
    subprocess.run([RINGMQ, "passwd", "--create", "--batch", users, "alice"], input=b"right\n", check=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )
    plain, login, tls = free_port(), free_port(), free_port()
    command = [
        str(RINGMQ), "--workers", "1", "--pin", "0", "--log-level", "error", "--max-login-failures", "0",
        "--listen", f"mqtt://127.0.0.1:{plain}?allow-anonymous=true",
        "--listen", f"mqtt://127.0.0.1:{login}?password-file={users}",
        "--listen", f"mqtts://127.0.0.1:{tls}?tls-cert={cert}&tls-key={key}&allow-anonymous=true",
    ]
    broker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1)
    floods = [
        ("alone", None, 0),
        ("beside wrong logins", lambda stop, n: log_in_wrongly(login, stop, n), 8),
        ("beside TLS handshakes", lambda stop, n: shake_hands(tls, stop, n), 2),
    ]
    try:
        for number in range(args.rounds):
            for name, work, threads in floods:
                stop, count, running = flood(work, threads) if work else (threading.Event(), [], [])
                before, start = sum(count), time.monotonic()
                seen = load(plain, broker.pid, args)
                per_second = (sum(count) - before) / (time.monotonic() - start)
                stop.set()
                for thread in running:
                    thread.join()
                times = "  ".join(f"{q} {seen[q]:,.0f}" for q in ("p50", "p99", "p99_9"))
                print(f"round {number + 1}  {name:22} {times} us   flood {per_second:,.0f}/s", flush=True)
    finally:
        os.kill(broker.pid, signal.SIGTERM)
        broker.wait(10)


if __name__ == "__main__":
    main()
