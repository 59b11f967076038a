"""Tables and plots of measured runs: Markdown, and one HTML page with its pictures inside."""

import html
import math
import pathlib

COLOURS = {
    "ringmq": "#0b6e4f", "mosquitto": "#c8553d", "rumqttd": "#2a6f97", "nats": "#8a5a9e",
    "flashmq": "#b8860b", "nanomq": "#5c6b73", "emqx": "#d1495b",
}
OTHER = ["#0b6e4f", "#c8553d", "#2a6f97", "#8a5a9e", "#b8860b", "#5c6b73", "#d1495b", "#333333"]


def colour(name, index=0):
    return COLOURS.get(name, OTHER[index % len(OTHER)])


def count(value):
    if value is None:
        return "–"
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def milliseconds(value_us):
    if value_us is None:
        return "–"
    ms = value_us / 1000
    return f"{ms:.2f}" if ms < 10 else f"{ms:.0f}"


def cell(entry):
    if entry["cpu_ns"] is None:
        return "failed" if entry["failed"] else "–"
    mark = f" ({len(entry['failed'])} failed)" if entry["failed"] else ""
    return f"{count(entry['deliveries_per_s'])} / {entry['cpu_ns']:,.0f}{mark}"


def markdown(about, summary, titles):
    names = list(about["brokers"])
    lines = [
        f"# {about['date']}: {', '.join(names)}",
        "",
        f"`{about['command']}` at {about['commit']}; {about['processor']}, {about['cores']} cores, "
        f"{about['memory_gib']} GiB, Linux {about['kernel']}; broker on core "
        f"{about['broker_cores']}, load on core {about['load_cores']}; medians of "
        f"{about['rounds']} interleaved rounds.",
        "",
        *(f"- {name}: {version}" for name, version in about["brokers"].items()),
        "",
        "Deliveries per second / broker CPU nanoseconds per delivery:",
        "",
        "| load | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for load, title in titles.items():
        cells = [cell(summary[load][name]) for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "Latency p50 / p99 / p99.9 in milliseconds:", ""]
    lines += ["| load | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for load, title in titles.items():
        entries = [summary[load][name] for name in names]
        cells = [" / ".join(milliseconds(e[k]) for k in ("p50", "p99", "p99_9")) for e in entries]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    failures = [
        f"- {titles[load]}, {name}: {why}"
        for load in titles for name in names for why in summary[load][name]["failed"]
    ]
    if failures:
        lines += ["", "Failed runs:", "", *failures]
    return "\n".join(lines) + "\n"


def percentiles(path):
    """(1 / (1 - percentile), microseconds) of an HdrHistogram percentile text in milliseconds."""
    points = []
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) != 4 or line.startswith("#"):
            continue
        try:
            value, inverse = float(fields[0]), float(fields[3])
        except ValueError:
            continue
        if math.isfinite(inverse):
            points.append((inverse, value * 1000))
    return points


def ticks(low, high):
    """Powers of ten from low to high."""
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def latency_plot(title, curves, width=860, height=360):
    """One curve per name: latency over the percentile, both logarithmic."""
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return ""
    left, right, top, bottom = 70, 130, 34, 46
    xs = [x for points in curves.values() for x, _ in points]
    ys = [max(y, 1e-3) for points in curves.values() for _, y in points]
    x_max = max(10 ** math.ceil(math.log10(max(xs))), 10)
    y_ticks = ticks(min(ys), max(ys))
    y_low, y_high = y_ticks[0], max(y_ticks[-1], y_ticks[0] * 10)

    def at_x(x):
        return left + (width - left - right) * math.log10(max(x, 1)) / math.log10(x_max)

    def at_y(y):
        share = math.log10(max(y, y_low) / y_low) / math.log10(y_high / y_low)
        return height - bottom - (height - top - bottom) * share

    parts = [f'<text x="{left}" y="20" class="title">{html.escape(title)}</text>']
    for y in y_ticks:
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" class="grid"/>')
        label = f"{y / 1000:g} ms" if y >= 1000 else f"{y:g} µs"
        parts.append(f'<text x="{left - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{label}</text>')
    x, nines = 1.0, 0
    while x <= x_max:
        label = "0 %" if nines == 0 else "90 %" if nines == 1 else "99" + ("." + "9" * (nines - 2) if nines > 2 else "") + " %"
        parts.append(f'<line x1="{at_x(x):.1f}" x2="{at_x(x):.1f}" y1="{top}" y2="{height - bottom}" class="grid"/>')
        parts.append(f'<text x="{at_x(x):.1f}" y="{height - bottom + 18}" text-anchor="middle">{label}</text>')
        x, nines = x * 10, nines + 1
    ends = []
    for index, (name, points) in enumerate(curves.items()):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(name, index)}" stroke-width="2"/>')
        ends.append([at_y(points[-1][1]), at_x(points[-1][0]), name, index])
    ends.sort()
    for before, after in zip(ends, ends[1:]):
        after[0] = max(after[0], before[0] + 15)
    for y, x, name, index in ends:
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{colour(name, index)}" class="name">{name}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">percentile</text>')
    return svg(width, height, parts)


def bars(title, values, unit, width=420, row=26):
    """One bar per name; the longest fills the width."""
    values = {name: value for name, value in values.items() if value}
    if not values:
        return ""
    left, right, top = 90, 90, 34
    height = top + row * len(values) + 8
    longest = max(values.values())
    parts = [f'<text x="10" y="20" class="title">{html.escape(title)}</text>']
    for index, (name, value) in enumerate(values.items()):
        y = top + index * row
        length = max((width - left - right) * value / longest, 1)
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{row - 8}" fill="{colour(name, index)}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 15}">{count(value)}{unit}</text>')
    return svg(width, height, parts)


def svg(width, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">' + "".join(parts) + "</svg>"
    )


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
svg { background: #fff; margin: 4px; } svg text { font: 12px system-ui, sans-serif; fill: #444; }
svg text.title { font-weight: 600; font-size: 13px; fill: #111; } svg text.name { font-weight: 600; }
.grid { stroke: #ddd; } table { border-collapse: collapse; font-size: 13px; }
td, th { border-bottom: 1px solid #ddd; padding: 3px 10px; text-align: right; }
td:first-child, th:first-child { text-align: left; } code { background: #f4f4f4; padding: 1px 4px; }
"""


def document(title, body):
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>{body}</html>\n"
    )


def table(names, summary, titles):
    rows = ["<tr><th>load</th>" + "".join(f"<th>{n}</th>" for n in names) + "</tr>"]
    for load, title in titles.items():
        cells = "".join(f"<td>{cell(summary[load][name])}</td>" for name in names)
        rows.append(f"<tr><td>{html.escape(title)}</td>{cells}</tr>")
    return "<table>" + "".join(rows) + "</table>"


def page(about, summary, titles, hgrm):
    """The report: table, bars and latency curves; readable without a network."""
    names = list(about["brokers"])
    versions = "; ".join(f"{n}: {html.escape(v)}" for n, v in about["brokers"].items())
    body = [
        f"<p><code>{html.escape(about['command'])}</code> at {about['commit']}. "
        f"{html.escape(about['processor'])}, {about['cores']} cores, {about['memory_gib']} GiB, "
        f"Linux {about['kernel']}. Broker on core {about['broker_cores']}, load on core "
        f"{about['load_cores']}; medians of {about['rounds']} interleaved rounds.</p>"
        f"<p>{versions}</p>",
        "<h2>Deliveries per second / broker CPU nanoseconds per delivery</h2>",
        table(names, summary, titles),
    ]
    for load, title in titles.items():
        entries = summary[load]
        body.append(f"<h2>{html.escape(title)}</h2>")
        body.append(bars("deliveries per second", {n: entries[n]["deliveries_per_s"] for n in names}, ""))
        body.append(bars("broker CPU per delivery", {n: entries[n]["cpu_ns"] for n in names}, " ns"))
        curves = {}
        for name in names:
            paths = sorted(pathlib.Path(hgrm).glob(f"{load}-{name}-*.hgrm"))
            if paths and entries[name]["p50"] is not None:
                curves[name] = percentiles(paths[len(paths) // 2])
        body.append(latency_plot("latency by percentile", curves))
    return document(f"MQTT brokers compared, {about['date']}", "".join(body))
