"""Runs the same loads against every broker that is installed, in turn, and writes what it saw.

Each round runs each load against each broker, one after the other, so that a machine that gets
slower meanwhile does so for all of them; what is reported is the median of the rounds. The broker
and the load stay on cores of their own. See perf/README.md for what comes out.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import plots

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "target/release/ringmq-bench"

# name: (program, arguments, version argument). PORT, CONFIG, STATE, WORKERS and SCHEME are replaced.
BROKERS = {
    "ringmq": (
        str(ROOT / "target/release/ringmq"),
        ["--listen", "SCHEME://127.0.0.1:PORT", "--tls-cert", "CONFIG/cert.pem",
         "--tls-key", "CONFIG/key.pem", "--workers", "WORKERS", "--pin", "none",
         "--log-level", "warn", "--max-queued-messages", "1000000",
         "--max-inflight", "65535", "--receive-maximum", "65535"],
        "--version",
    ),
    "mosquitto": ("mosquitto", ["-c", "CONFIG/mosquitto.conf"], "-h"),
    "rumqttd": ("rumqttd", ["-q", "-c", "CONFIG/rumqttd.toml"], "--version"),
    "nats": ("nats-server", ["-c", "CONFIG/nats.conf"], "--version"),
    "flashmq": ("flashmq", ["--config-file", "CONFIG/flashmq.conf"], "--version"),
    "nanomq": ("nanomq", ["start", "--conf", "CONFIG/nanomq.conf"], "--version"),
    "emqx": ("emqx", ["foreground"], "--version"),
}

# name: (title, arguments of the load generator, quality of service)
LOADS = {
    "fanout-100": ("1 to 100, w64", "fanout --subscribers 100 --window 64", 0),
    "fanout-1000": ("1 to 1000, w64", "fanout --subscribers 1000 --window 64", 0),
    "fanout-5000": ("1 to 5000, w32", "fanout --subscribers 5000 --window 32", 0),
    "fanout-1000-w1": ("1 to 1000, w1", "fanout --subscribers 1000 --window 1", 0),
    "fanout-1000-qos1": ("1 to 1000, w64, QoS 1", "fanout --subscribers 1000 --window 64 --qos 1", 1),
    "pairs": ("200 pairs, w16", "pairs --pairs 200 --window 16", 0),
    "pairs-qos1": ("200 pairs, w16, QoS 1", "pairs --pairs 200 --window 16 --qos 1", 1),
    "pairs-qos2": ("200 pairs, w16, QoS 2", "pairs --pairs 200 --window 16 --qos 2", 2),
    "fanin": ("200 to 1, w16", "fanin --publishers 200 --window 16", 0),
    "tls-1000": ("1 to 1000, w64, TLS", "fanout --subscribers 1000 --window 64 --over tls", 0),
    "tls-1000-w1": ("1 to 1000, w1, TLS", "fanout --subscribers 1000 --window 1 --over tls", 0),
    "ws-1000": ("1 to 1000, w64, WebSocket", "fanout --subscribers 1000 --window 64 --over ws", 0),
    "ws-1000-w1": ("1 to 1000, w1, WebSocket", "fanout --subscribers 1000 --window 1 --over ws", 0),
    "rate-60": ("60/s to 1000, open loop", "fanout --subscribers 1000 --rate 60", 0),
    "rate-600": ("600/s to 100, open loop", "fanout --subscribers 100 --rate 600", 0),
}


# What is spoken below MQTT: the scheme of a URL, and what the brokers' configurations are given
# besides. Those that are not here are not set up for it.
OVER = {
    "tcp": ("mqtt", {}),
    "tls": ("mqtts", {"ringmq": "", "mosquitto": "certfile CONFIG/cert.pem\nkeyfile CONFIG/key.pem\n"}),
    "ws": ("ws", {"ringmq": ""}),
}


def over(load):
    words = LOADS[load][1].split()
    return words[words.index("--over") + 1] if "--over" in words else "tcp"


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--brokers", default=",".join(BROKERS), help="which, with commas")
    p.add_argument("--loads", default=",".join(LOADS), help=f"which of {', '.join(LOADS)}")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--duration", type=int, default=4, help="seconds measured of each run")
    p.add_argument("--broker-cores", default="0")
    p.add_argument("--load-cores", default="1", help="or none: wherever the kernel puts it")
    p.add_argument("--workers", default="1", help="ringmq's workers")
    p.add_argument("--out", help="folder for the results")
    p.add_argument("--again", help="write table and page of this folder anew from its raw data")
    return p.parse_args()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """A broker of its own, on a free port, kept to the given cores."""

    def __init__(self, name, load, args):
        program, flags, _ = BROKERS[name]
        self.scheme, besides = OVER[over(load)]
        if besides and name not in besides:
            raise RuntimeError(f"it is not set up for {over(load)} in scripts/compare.py")
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="ringmq-compare-", dir="/dev/shm")
        os.chmod(self.folder, 0o755)
        for path in (ROOT / "scripts/brokers").iterdir():
            text = path.read_text() + (besides.get(name, "") if path.stem == name else "")
            (pathlib.Path(self.folder) / path.name).write_text(self.fill(text, args))
        if self.scheme == "mqtts":
            self.make_certificate()
        command = ["taskset", "-c", args.broker_cores, program, *(self.fill(f, args) for f in flags)]
        environment = dict(os.environ, EMQX_LISTENERS__TCP__DEFAULT__BIND=f"127.0.0.1:{self.port}")
        self.log = open(f"{self.folder}/log", "w")
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment, start_new_session=True
        )
        self.wait()

    def make_certificate(self):
        key, cert = f"{self.folder}/key.pem", f"{self.folder}/cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )
        # Brokers that give up root's rights read it afterwards.
        os.chmod(key, 0o644)

    def fill(self, text, args):
        for key, value in (
            ("SCHEME", self.scheme), ("PORT", str(self.port)), ("CONFIG", self.folder),
            ("STATE", f"{self.folder}/state"), ("WORKERS", args.workers),
        ):
            text = text.replace(key, value)
        return text

    def wait(self):
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(pathlib.Path(self.log.name).read_text()[-2000:])

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def run(name, load, args, hgrm):
    """One run; its result, or the reason why there is none."""
    try:
        broker = Broker(name, load, args)
    except (RuntimeError, OSError) as error:
        return {"failed": f"does not start: {str(error).strip()[:300]}"}
    try:
        command = [
            str(BENCH), *LOADS[load][1].split(), "--port", str(broker.port),
            "--pid", str(broker.process.pid),
            *([] if args.load_cores == "none" else ["--pin", args.load_cores]),
            "--duration", str(args.duration), "--json", "--hgrm", str(hgrm),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.duration + 90)
        # Where the checkout lies is nobody's business.
        result = json.loads(done.stdout.replace(f"{ROOT}/", "")) if done.stdout.strip() else {}
        if done.returncode:
            said = done.stderr.strip() or "lost, duplicated or reordered messages"
            result["failed"] = said.splitlines()[-1][:200]
        return result
    except subprocess.TimeoutExpired:
        return {"failed": "did not end in time"}
    finally:
        broker.stop()


def version(name):
    program, _, flag = BROKERS[name]
    done = subprocess.run([program, flag], capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def environment(args, names):
    def first(command):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        return done.stdout.strip()

    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["scripts/compare.sh", *sys.argv[1:]]),
        "commit": first(f"git -C '{ROOT}' describe --always --dirty"),
        "processor": first("sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "broker_cores": args.broker_cores,
        "load_cores": args.load_cores,
        "rounds": args.rounds,
        "brokers": {name: version(name) for name in names},
    }


def median(runs, *path):
    values = []
    for result in runs:
        for key in path:
            result = (result or {}).get(key)
        if result is not None:
            values.append(result)
    return statistics.median(values) if values else None


def summarize(raw, names, loads):
    """load → broker → what the table and the plots show."""
    summary = {}
    for load in loads:
        for name in names:
            runs = [r for r in raw if (r["broker_name"], r["load"]) == (name, load)]
            good = [r["result"] for r in runs if "failed" not in r["result"]]
            summary.setdefault(load, {})[name] = {
                "deliveries_per_s": median(good, "deliveries_per_s"),
                "cpu_ns": median(good, "broker", "cpu_ns_per_delivery"),
                "p50": median(good, "latency_us", "p50"),
                "p99": median(good, "latency_us", "p99"),
                "p99_9": median(good, "latency_us", "p99_9"),
                "failed": [r["result"]["failed"] for r in runs if "failed" in r["result"]],
            }
    return summary


def write(out, about, raw):
    """The table and the page, from what was measured."""
    loads = list(dict.fromkeys(r["load"] for r in raw))
    summary = summarize(raw, list(about["brokers"]), loads)
    titles = {load: LOADS[load][0] for load in loads}
    (out / "summary.md").write_text(plots.markdown(about, summary, titles))
    (out / "report.html").write_text(plots.page(about, summary, titles, out / "hgrm"))
    print((out / "summary.md").read_text())
    print(f"written to {out}")


def main():
    args = arguments()
    if args.again:
        out = pathlib.Path(args.again)
        about = json.loads((out / "environment.json").read_text())
        return write(out, about, json.loads((out / "raw.json").read_text()))
    names = [n for n in args.brokers.split(",") if shutil.which(BROKERS[n][0])]
    loads = args.loads.split(",")
    about = environment(args, names)
    machine = f"{about['cores']}-core-{platform.machine()}"
    out = pathlib.Path(args.out or ROOT / "perf/results" / f"{about['date']}-{machine}")
    (out / "hgrm").mkdir(parents=True, exist_ok=True)
    raw = []
    for round_number in range(1, args.rounds + 1):
        for load in loads:
            for name in names:
                hgrm = out / "hgrm" / f"{load}-{name}-{round_number}.hgrm"
                result = run(name, load, args, hgrm)
                raw.append({"round": round_number, "load": load, "broker_name": name, "result": result})
                cpu = (result.get("broker") or {}).get("cpu_ns_per_delivery")
                said = result.get("failed") or f"{result['deliveries_per_s']:,.0f}/s {cpu:,.0f} ns"
                print(f"round {round_number} {load:18} {name:10} {said}", flush=True)
    (out / "environment.json").write_text(json.dumps(about, indent=2) + "\n")
    (out / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")
    write(out, about, raw)


if __name__ == "__main__":
    main()
