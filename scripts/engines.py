"""What the engine costs: CPU a delivery, rate and p99 of fan-outs by io_uring and by epoll, in turn.
Needs `cargo build --release --workspace` first; `--help` tells what can be chosen."""

import argparse
import statistics

import watching

LOADS = {
    "1 to 1000, w64": "fanout --subscribers 1000 --window 64",
    "1 to 1000, w1": "fanout --subscribers 1000 --window 1",
    "1 to 1000, QoS 1, w64": "fanout --subscribers 1000 --window 64 --qos 1",
}
ENGINES = ["io-uring", "poll"]


def run(args, words, engine):
    flags = ["--workers", str(args.workers), "--engine", engine, *watching.OFF]
    with watching.Broker(args.binary, flags) as broker:
        result = broker.load(words, args.duration)
    return (result["broker"]["cpu_ns_per_delivery"], result["deliveries_per_s"],
            result["latency_us"]["p99"])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--duration", type=int, default=3, help="seconds measured of each run")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--binary", default=watching.ROOT / "target/release/ringmq")
    args = p.parse_args()
    print("| load | engine | CPU a delivery | deliveries/s | p99 | CPU of io_uring's |")
    print("|---|---|---|---|---|---|")
    for name, words in LOADS.items():
        runs = {engine: [] for engine in ENGINES}
        for number in range(args.rounds):
            # Each comes first in every other round.
            for engine in ENGINES if number % 2 == 0 else ENGINES[::-1]:
                runs[engine].append(run(args, words, engine))
        for engine, results in runs.items():
            cpu, rate, p99 = (statistics.median(column) for column in zip(*results))
            pairs = zip(results, runs["io-uring"])
            ratio = statistics.median(mine[0] / other[0] for mine, other in pairs)
            print(f"| {name} | {engine} | {cpu:.0f} ns | {rate:,.0f} | {p99 / 1000:.1f} ms "
                  f"| {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
