"""What it costs to be watched: the CPU of a fan-out with everything that shows the broker turned on
and with all of it turned off, and the latency of a fan-out beside an operator's questions."""

import argparse
import http.client
import json
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
OFF = ["--sys-interval", "0", "--admin-listen", "none", "--admin-socket", "none"]
LOADS = {
    "1 to 1000, w64": "fanout --subscribers 1000 --window 64",
    "1 to 1000, w1": "fanout --subscribers 1000 --window 1",
}
OPEN_LOAD = "fanout --subscribers 100 --rate 200"
SESSIONS = 100_000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """A broker of its own, for as long as the `with` lasts."""

    def __init__(self, binary, flags):
        self.port, self.said = free_port(), tempfile.TemporaryFile("w+")
        command = [binary, "--listen", f"127.0.0.1:{self.port}", "--log-level", "warn", *flags]
        self.process = subprocess.Popen(command, stdout=self.said, stderr=self.said)
        time.sleep(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def load(self, words, duration):
        command = [ROOT / "target/release/ringmq-bench", *words.split(), "--port", str(self.port),
                   "--pid", str(self.process.pid), "--duration", str(duration), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration + 60)
        if done.returncode:
            sys.exit(f"{words}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {body[:200]}")
    return body


class Beside:
    """Does something again and again on a thread of its own, for as long as the `with` lasts."""

    def __init__(self, work):
        self.work, self.ended, self.times = work, threading.Event(), []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.is_set():
            began = time.perf_counter()
            self.work(self.ended)
            self.times.append(time.perf_counter() - began)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def stream(port, path):
    """Reads an answer without an end: as a dashboard does, or whoever traces."""
    def work(ended):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        while not ended.is_set() and answer.readline():
            pass
        connection.close()
    return work


def scrape(port, interval):
    def work(ended):
        get(port, "/metrics")
        ended.wait(interval)
    return work


def list_clients(port):
    """All pages of the list of clients."""
    def work(ended):
        cursor = ""
        while not ended.is_set():
            page = json.loads(get(port, f"/api/v1/clients?limit=1000{cursor}"))
            if page["next"] is None:
                return
            cursor = f"&cursor={urllib.parse.quote(page['next'])}"
    return work


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def packet(kind, body):
    length, size = b"", len(body)
    while True:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def connect(client_id, clean):
    return packet(0x10, text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + text(client_id))


def subscribe(topic):
    return packet(0x82, b"\0\1" + text(topic) + b"\0")


def fill(port):
    """Sessions whose clients are away, each with a filter of its own."""
    for number in range(SESSIONS):
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(connect(f"away-{number}", False) + subscribe(f"away/{number}/+")
                      + b"\xe0\0")
            while s.recv(64):
                pass


def traced(port):
    """A client that publishes to itself 500 times a second: 1,000 packets a second."""
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(connect("traced", True) + subscribe("traced"))
    publish = packet(0x30, text("traced") + bytes(64))

    def work(ended):
        due = time.perf_counter()
        while not ended.is_set():
            s.sendall(publish)
            s.recv(65536)
            due += 1 / 500
            time.sleep(max(0, due - time.perf_counter()))
        s.close()
    return work


def cost(args, flags):
    """CPU a delivery with all of it off and on; each comes first in every other round."""
    def off(words):
        with Broker(args.binary, flags + OFF) as broker:
            return broker.load(words, args.duration)

    def on(words):
        admin, metrics = free_port(), free_port()
        more = ["--admin-listen", f"127.0.0.1:{admin}", "--admin-socket", "none",
                "--metrics-listen", f"127.0.0.1:{metrics}"]
        with (Broker(args.binary, flags + more) as broker, Beside(scrape(metrics, 5)),
              Beside(stream(admin, "/api/v1/live"))):
            return broker.load(words, args.duration)

    runs = {}
    for number in range(args.rounds):
        for name, words in LOADS.items():
            order = (off, on) if number % 2 == 0 else (on, off)
            results = {way: way(words)["broker"]["cpu_ns_per_delivery"] for way in order}
            pair = [results[off], results[on]]
            runs.setdefault(name, []).append(pair)
            print(f"{name}: off {pair[0]:.1f}, on {pair[1]:.1f} ns", flush=True)
    return runs


def questions(args, flags):
    """The p99 of a fan-out alone and beside questions without a pause, in turn; and how long those
    took."""
    admin = free_port()
    on = ["--admin-listen", f"127.0.0.1:{admin}", "--admin-socket", "none"]
    p99, took = {}, {}
    with Broker(args.binary, flags + on) as broker:
        fill(broker.port)
        beside = {
            "nothing": None,
            f"all pages of {SESSIONS:,} clients": list_clients(admin),
            f"who gets a topic, {SESSIONS:,} filters":
                lambda _: get(admin, "/api/v1/subscribers?topic=away/77777/x"),
            "/metrics once a second": scrape(admin, 1),
        }
        for _ in range(args.rounds):
            for name, work in beside.items():
                if work is None:
                    result = broker.load(OPEN_LOAD, args.duration)
                else:
                    with Beside(work) as asking:
                        result = broker.load(OPEN_LOAD, args.duration)
                    took.setdefault(name, []).extend(asking.times)
                p99.setdefault(name, []).append(result["latency_us"]["p99"])
                print(f"beside {name}: p99 {p99[name][-1]:.0f} µs", flush=True)
            with Beside(traced(broker.port)):
                p99.setdefault("a client of 1,000 packets/s", []).append(
                    broker.load(OPEN_LOAD, args.duration)["latency_us"]["p99"])
                with Beside(stream(admin, "/api/v1/trace?client=traced")):
                    p99.setdefault("the same, traced", []).append(
                        broker.load(OPEN_LOAD, args.duration)["latency_us"]["p99"])
        scrapes = []
        for _ in range(100):
            began = time.perf_counter()
            get(admin, "/metrics")
            scrapes.append(time.perf_counter() - began)
    return p99, took, scrapes


def markdown(about, costs, p99, took, scrapes):
    lines = [f"`{about['command']}` at {about['commit']}; {about['processor']}, "
             f"{about['cores']} cores, Linux {about['kernel']}; medians of {about['rounds']} "
             f"rounds of {about['duration']} s.", "",
             "| load | CPU a delivery, all off | all on | |", "|---|---|---|---|"]
    for name, pairs in costs.items():
        off, on = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        share = statistics.median(pair[1] / pair[0] for pair in pairs)
        lines.append(f"| {name} | {off:.1f} ns | {on:.1f} ns | {share:.3f} |")
    lines += ["", f"| beside `{OPEN_LOAD}` | p99 | of that without | one question takes |",
              "|---|---|---|---|"]
    base = statistics.median(p99["nothing"])
    for name, values in p99.items():
        alone = statistics.median(p99["a client of 1,000 packets/s"]) if "traced" in name else base
        times = took.get(name)
        one = f"{statistics.median(times) * 1000:.1f} ms" if times else ""
        middle = statistics.median(values)
        lines.append(f"| {name} | {middle:.0f} µs | {middle / alone:.2f} | {one} |")
    scrapes.sort()
    lines += ["", f"`/metrics` of a broker with {SESSIONS:,} sessions, 100 times: median "
              f"{scrapes[50] * 1000:.1f} ms, the slowest but one {scrapes[-2] * 1000:.1f} ms."]
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--duration", type=int, default=5, help="seconds measured of each run")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--binary", default=ROOT / "target/release/ringmq")
    args = p.parse_args()
    shell = lambda c: subprocess.run(c, shell=True, capture_output=True, text=True).stdout.strip()
    about = {
        "command": " ".join(["scripts/watching.sh", *sys.argv[1:]]),
        "commit": shell(f"git -C '{ROOT}' describe --always --dirty"),
        "cores": shell("nproc"), "kernel": platform.release(),
        "processor": shell("sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1"),
        "rounds": args.rounds, "duration": args.duration,
    }
    flags = ["--workers", str(args.workers)]
    print(markdown(about, cost(args, flags), *questions(args, flags)))


if __name__ == "__main__":
    main()
