#!/usr/bin/env python3
"""Measures a bridge at QoS 0: messages a second from one ringmq to another, and the CPU time of each
thread of the one that has the bridge.

    scripts/bridges.py [--seconds 10] [--window 2000] [--version 3.1.1]

One publisher sends to the broker with the bridge (one worker, on core 0 with the bridge's thread),
one subscriber reads from the other (one worker, on core 1, which this program shares). --window
messages are under way at most, so none is dropped.
"""

import argparse
import os
import pathlib
import select
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def text(words):
    return len(words).to_bytes(2, "big") + words.encode()


def packet(kind, body):
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


def connect(port, name):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(packet(0x10, text("MQTT") + bytes([4, 2, 0, 0]) + text(name)))
    assert client.recv(4)[3] == 0
    return client


def broker(core, *flags):
    program = ["taskset", "-c", str(core), os.environ.get("RINGMQ", ROOT / "target/release/ringmq")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common = ["--workers", "1", "--pin", "none", "--admin-listen", "none", "--admin-socket", "none"]
    return subprocess.Popen([*program, *common, *flags], **quiet)


def open_port(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens at port {port}")


def thread_seconds(pid):
    seconds = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        name = (task / "comm").read_text().strip()
        seconds[name] = seconds.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def measure(publisher, subscriber, message, delivered, options):
    """Sends and counts for some seconds; returns the messages that arrived and the time."""
    sent = received = 0
    block = message * 100
    subscriber.setblocking(False)
    publisher.setblocking(False)
    rest = b""
    began = time.monotonic()
    end = began + options.seconds
    while True:
        now = time.monotonic()
        is_over = now >= end
        if is_over and received >= sent * len(delivered):
            return sent, now - began
        assert now < end + 30, f"{sent * len(delivered) - received} bytes are missing"
        has_room = sent - received // len(delivered) < options.window and not is_over
        wants = [publisher] if rest or has_room else []
        readable, writable, _ = select.select([subscriber], wants, [], 1)
        if writable:
            if not rest:
                rest, sent = block, sent + 100
            rest = rest[publisher.send(rest):]
        if readable:
            received += len(subscriber.recv(1 << 20))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--window", type=int, default=2000)
    parser.add_argument("--version", default="3.1.1")
    options = parser.parse_args()
    near_port, far_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "near.toml")
        file.write_text(
            f'listen = "127.0.0.1:{near_port}"\n[[bridge]]\nname = "up"\n'
            f'address = "127.0.0.1:{far_port}"\nversion = "{options.version}"\n'
            'topic = ["s/# out 0 here/ there/", "ready in"]\nnotifications = false\n'
        )
        far = broker(1, "--listen", f"127.0.0.1:{far_port}")
        open_port(far_port)
        near = broker(0, "--config", str(file))
        try:
            open_port(near_port)
            publisher, subscriber = connect(near_port, "p"), connect(far_port, "s")
            subscriber.sendall(packet(0x82, bytes([0, 1]) + text("there/#") + b"\0"))
            assert subscriber.recv(5)[0] == 0x90
            body = b"\0" * 64
            message = packet(0x30, text("here/s/1") + body)
            delivered = packet(0x30, text("there/s/1") + body)
            # The bridge is there when a message arrives.
            subscriber.settimeout(0.2)
            while True:
                publisher.sendall(message)
                try:
                    assert subscriber.recv(1 << 16)
                    break
                except TimeoutError:
                    pass
            time.sleep(0.5)
            before = thread_seconds(near.pid)
            count, seconds = measure(publisher, subscriber, message, delivered, options)
            after = thread_seconds(near.pid)
        finally:
            near.terminate()
            far.terminate()
            near.wait()
            far.wait()
    print(f"{count / seconds:,.0f} messages/s, {count:,} in {seconds:.1f} s")
    for name in sorted(after):
        spent = after[name] - before.get(name, 0)
        if spent > 0.01:
            print(f"  {name}: {spent * 1e9 / count:,.0f} ns a message")


if __name__ == "__main__":
    main()
