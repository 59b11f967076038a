"""Runs one closed and one open load against ringmq with different --pin, --busy-poll-us and
--workers, in turn, and writes a table and a page of plots. See perf/README.md."""

import argparse
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import plots

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOADS = {
    "fanout": ("1 to 1000, w64", "fanout --subscribers 1000 --window 64"),
    "rate": ("200/s to 100, open loop", "fanout --subscribers 100 --rate 200"),
    "pingpong": ("1 to 1, round trip", "pingpong"),
}


def choices(cores):
    """name → flags: pinning, then busy polling, then more workers."""
    found = {
        "none": ["--workers", "1", "--pin", "none"],
        "auto": ["--workers", "1", "--pin", "auto"],
        f"core {cores[-1]}": ["--workers", "1", "--pin", str(cores[-1])],
        "auto, busy 50": ["--workers", "1", "--pin", "auto", "--busy-poll-us", "50"],
    }
    for workers in range(2, len(cores) + 1):
        found[f"{workers} workers"] = ["--workers", str(workers), "--pin", "auto"]
        found[f"{workers} unpinned"] = ["--workers", str(workers), "--pin", "none"]
    return found


def run(flags, load, duration, hgrm):
    with tempfile.TemporaryFile("w+") as said:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        broker = subprocess.Popen(
            [ROOT / "target/release/ringmq", "--listen", f"127.0.0.1:{port}",
             "--log-level", "warn", *flags], stdout=said, stderr=said,
        )
        try:
            time.sleep(0.5)
            command = [
                ROOT / "target/release/ringmq-bench", *LOADS[load][1].split(), "--port", str(port),
                "--pid", str(broker.pid), "--duration", str(duration), "--json", "--hgrm", hgrm,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=duration + 60)
            if done.returncode:
                sys.exit(f"{flags} {load}: {done.stderr or done.stdout}")
            # Where the checkout lies is nobody's business.
            return json.loads(done.stdout.replace(f"{ROOT}/", ""))
        finally:
            broker.terminate()
            broker.wait()


def markdown(about, summary):
    lines = [
        f"# {about['date']}: pinning, busy polling, workers", "",
        f"`{about['command']}` at {about['commit']}; {about['processor']}, {about['cores']} cores, "
        f"Linux {about['kernel']}; the load is not pinned; medians of {about['rounds']} rounds.", "",
    ]
    for load, (title, _) in LOADS.items():
        lines += [f"## {title}", "", "| choice | deliveries/s | CPU ns | p50 ms | p99 ms | p99.9 ms |",
                  "|---|---|---|---|---|---|"]
        for name, entry in summary[load].items():
            times = " | ".join(plots.milliseconds(entry[k]) for k in ("p50", "p99", "p99_9"))
            lines.append(
                f"| {name} | {plots.count(entry['deliveries_per_s'])} | {entry['cpu_ns']:,.0f} | {times} |"
            )
        lines.append("")
    return "\n".join(lines)


def page(about, summary, hgrm):
    body = [f"<p><code>{about['command']}</code> at {about['commit']}, {about['processor']}, "
            f"{about['cores']} cores.</p>"]
    for load, (title, _) in LOADS.items():
        entries = summary[load]
        body.append(f"<h2>{title}</h2>")
        body.append(plots.bars("deliveries per second", {n: e["deliveries_per_s"] for n, e in entries.items()}, ""))
        body.append(plots.bars("broker CPU per delivery", {n: e["cpu_ns"] for n, e in entries.items()}, " ns"))
        curves = {n: plots.percentiles(hgrm / f"{load}-{slug(n)}-1.hgrm") for n in entries}
        body.append(plots.latency_plot("latency by percentile", curves))
    return plots.document(f"What pinning buys, {about['date']}", "".join(body))


def slug(name):
    return "".join(c if c.isalnum() else "-" for c in name)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--duration", type=int, default=3, help="seconds measured of each run")
    p.add_argument("--out", help="folder for the results")
    args = p.parse_args()
    shell = lambda c: subprocess.run(c, shell=True, capture_output=True, text=True).stdout.strip()
    cores = sorted(os.sched_getaffinity(0))
    about = {
        "date": time.strftime("%Y-%m-%d"), "command": " ".join(["scripts/pinning.sh", *sys.argv[1:]]),
        "commit": shell(f"git -C '{ROOT}' describe --always --dirty"), "cores": len(cores),
        "processor": shell("sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1"),
        "kernel": platform.release(), "rounds": args.rounds,
    }
    machine = f"{len(cores)}-core-{platform.machine()}"
    out = pathlib.Path(args.out or ROOT / "perf/results" / f"{about['date']}-{machine}-pinning")
    hgrm = out / "hgrm"
    hgrm.mkdir(parents=True, exist_ok=True)
    raw = []
    for round_number in range(1, args.rounds + 1):
        for load in LOADS:
            for name, flags in choices(cores).items():
                result = run(flags, load, args.duration, hgrm / f"{load}-{slug(name)}-{round_number}.hgrm")
                raw.append({"round": round_number, "load": load, "choice": name, "result": result})
                print(f"round {round_number} {load:9} {name:14} {result['deliveries_per_s']:,.0f}/s", flush=True)
    summary = {}
    for load in LOADS:
        for name in choices(cores):
            runs = [r["result"] for r in raw if (r["load"], r["choice"]) == (load, name)]
            middle = lambda pick: statistics.median(pick(r) for r in runs)
            summary.setdefault(load, {})[name] = {
                "deliveries_per_s": middle(lambda r: r["deliveries_per_s"]),
                "cpu_ns": middle(lambda r: r["broker"]["cpu_ns_per_delivery"]),
                **{k: middle(lambda r, k=k: r["latency_us"][k]) for k in ("p50", "p99", "p99_9")},
            }
    (out / "environment.json").write_text(json.dumps(about, indent=2) + "\n")
    (out / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")
    (out / "summary.md").write_text(markdown(about, summary))
    (out / "report.html").write_text(page(about, summary, hgrm))
    print((out / "summary.md").read_text())
    print(f"written to {out}")


if __name__ == "__main__":
    main()
