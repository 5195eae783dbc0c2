#!/usr/bin/env python3
"""The arithmetic of the race, and the tables of README.md made of results.json: no figure is copied by hand.

usage: figures.py [--write]    prints the tables; with --write puts them into README.md
"""

import json
import pathlib
import re
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
OURS = "osbs"
BEGIN, END = "<!-- figures: made by figures.py -->", "<!-- end of figures -->"
# Ahead of the pipeline of existing tools by so much, on these rows.
TEN_TIMES, TEN_TIMES_ROWS = 10.0, ("large", "files")
FLOOR_TIMES = 2.0
PEAK_MB = 100.0
# A manifest, a config and a layer: HEAD and upload each, and the greeting.
REQUESTS = 6


def median(values):
    """None of nothing."""
    return statistics.median(values) if values else None


def floor(kind, sizes, limits, cores):
    """Seconds by part that no builder on this machine can stay below, and their sum as `total`.

    `kind` is `normal`, `unchanged` (nothing is to be built) or `first` (the parent is still in the registry).
    `sizes`: `work_s` and `walk_s` measured by hand, `containers` in a row, `parent_layers`, `parent_bytes` unpacked,
    and `layer_bytes`, `packed_bytes`, `archive_bytes` of the result.
    """
    mega = {name: sizes[name] / 1e6 for name in ["parent_bytes", "layer_bytes", "packed_bytes", "archive_bytes"]}
    write = mega["archive_bytes"] / limits["write_mb_s"]
    parts = {"requests": (sizes["parent_layers"] + REQUESTS) * limits["request_s"]}
    if kind == "unchanged":
        parts["archive"] = write
        return parts | {"total": sum(parts.values())}
    if kind == "first":
        # Layers are unpacked side by side, but one gzip member on one core only.
        parts["pull"] = mega["parent_bytes"] / limits["gunzip_mb_s"] / min(cores, sizes["parent_layers"])
    parts["work"] = sizes["work_s"]
    parts["containers"] = sizes["containers"] * limits["container_s"]
    compress = mega["layer_bytes"] / limits["compressor_mb_s"]
    digest = mega["layer_bytes"] / limits["sha256_mb_s"]
    put = mega["packed_bytes"] / limits["put_mb_s"]
    # Each of these goes through one core, in order; all of them share all cores.
    streams = [compress, digest, put, sizes["walk_s"], write]
    busy = digest + mega["packed_bytes"] / limits["sha256_mb_s"] + put + sizes["walk_s"] + write
    parts["layer"] = max(*streams, compress + busy / cores)
    return parts | {"total": sum(parts.values())}


def ratio(theirs, ours):
    return theirs / ours if theirs is not None and ours else None


def summary(row, limits, cores):
    """The row with medians, ratios, floor and the targets that it misses."""
    medians = {key: median([run["seconds"] for run in runs]) for key, runs in row["runs"].items() if runs}
    ours = medians.get(OURS)
    ratios = {key: ratio(value, ours) for key, value in medians.items() if key != OURS}
    peak = max((run["peak_mb"] for run in row["runs"].get(OURS, [])), default=None)
    bound = floor(row["kind"], row["sizes"], limits, cores) if ours else None
    times = ratio(ours, bound["total"]) if bound else None
    return row | {
        "median_s": medians,
        "ratio": ratios,
        "floor_s": bound,
        "ours_by_floor": times,
        "peak_mb": peak,
        "missed": missed(row["name"], ratios, times, peak),
    }


def missed(name, ratios, times_floor, peak):
    """The targets that a row misses, in words."""
    if times_floor is None:
        return ["osbs did not end it"]
    found = [f"behind {key}" for key, value in ratios.items() if value <= 1]
    if name in TEN_TIMES_ROWS and ratios.get("buildah", TEN_TIMES) < TEN_TIMES:
        found.append("not 10 times buildah")
    if times_floor > FLOOR_TIMES:
        found.append("over twice the floor")
    if peak >= PEAK_MB:
        found.append("100 MB of memory or more")
    return found


def seconds(value):
    if value is None:
        return ""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def times(value):
    return f"{value:.1f}" if value < 20 else f"{value:.0f}"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(head, rows):
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def race_table(results):
    """One line a row: seconds of each, in parentheses how many times ours, floor and memory."""
    peers = [key for key in results["tools"] if key != OURS]
    rows = []
    for row in results["rows"]:
        cells = [row["name"], seconds(row["median_s"].get(OURS)) or "failed"]
        for key in peers:
            if key in row["median_s"]:
                by = f" ({times(row['ratio'][key])})" if row["ratio"].get(key) else ""
                cells.append(seconds(row["median_s"][key]) + by)
            else:
                cells.append("failed" if key in row["failed"] else "")
        bound = row["floor_s"]
        cells += [seconds(bound["total"]), times(row["ours_by_floor"]), f"{row['peak_mb']:.0f} MB"] if bound else [""] * 3
        rows.append([*cells, ", ".join(row["missed"]) or "none"])
    head = ["row", *[f"{key} {results['tools'][key]['version']}" for key in [OURS, *peers]]]
    return table([*head, "floor", "osbs/floor", "peak", "targets missed"], rows)


def limits_table(results):
    limits = results["limits"]
    names = {
        "sha256_mb_s": "SHA-256, one core",
        "compressor_mb_s": "our gzip, all cores",
        "gunzip_mb_s": "gunzip, one core",
        "write_mb_s": "disk, writing into the page cache",
        "write_synced_mb_s": "disk, writing until it is there",
        "read_mb_s": "disk, reading",
        "put_mb_s": "registry, one plain PUT",
    }
    rows = [[text, f"{limits[key]:,.0f} MB/s"] for key, text in names.items()]
    rows.append(["registry, the smallest request", f"{limits['request_s'] * 1000:.1f} ms"])
    rows.append(["runc, an empty container", f"{limits['container_s'] * 1000:.0f} ms"])
    for row in results["rows"]:
        sizes = row["sizes"]
        if row["name"] in TEN_TIMES_ROWS and sizes["walk_s"]:
            rate = f"{sizes['bytes'] / 1e6 / sizes['walk_s']:,.0f} MB/s, {sizes['files'] / sizes['walk_s']:,.0f} files/s"
            rows.append([f"tar walk of the tree of {row['name']}", rate])
    return table(["limit", "measured"], rows)


def floor_table(results):
    """What the floors are made of, and where our time went."""
    names = ["requests", "pull", "archive", "work", "containers", "layer"]
    rows = []
    for row in results["rows"]:
        if row["floor_s"]:
            parts = [seconds(row["floor_s"].get(name)) for name in names]
            phases = row.get("phases_s") or {}
            rows.append([row["name"], *parts, ", ".join(f"{name} {value:.2f}" for name, value in phases.items())])
    return table(["row", *names, "our phases (s)"], rows)


def profile_table(results):
    """Seconds of processor by what they were spent on, one column a row that was profiled."""
    profiles = results.get("profiles", {})
    if not profiles:
        return ""
    spent = {
        name: {group: profile["busy_s"] * share / 100 for group, share in profile["groups"].items()}
        for name, profile in profiles.items()
    }
    groups = {group: sum(row.get(group, 0) for row in spent.values()) for row in spent.values() for group in row}
    groups = sorted(groups, key=groups.get, reverse=True)
    rows = [[group, *(seconds(spent[name].get(group)) for name in profiles)] for group in groups]
    rows.append(["all", *(seconds(profile["busy_s"]) for profile in profiles.values())])
    rows.append(["took", *(seconds(profile["seconds"]) for profile in profiles.values())])
    text = "\nWhere the processor time of these rows goes (perf, which slows them; all processes, the registry too):\n\n"
    return text + table(["spent on", *profiles], rows)


def render(results):
    """Everything between the marks in README.md."""
    machine = results["machine"]
    parts = [
        f"{results['date']}, osbs at {results['commit']}: {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_mb'] / 1024:.0f} GB, Linux {machine['kernel']}, on {machine['file_system']}."
        " Medians; in parentheses how many times ours.\n",
        race_table(results),
        "\nThe machine's limits, measured before the race:\n",
        limits_table(results),
        "\nWhat the floors are made of, and our own phases:\n",
        floor_table(results),
        profile_table(results),
    ]
    tools = [f"- `{key}` {tool['version']}: {tool['how']}" for key, tool in results["tools"].items()]
    parts += ["\nThe tools:\n", "\n".join(tools)]
    notes = [f"- `{key}` takes no part: {why}" for key, why in results["absent"].items()]
    notes += [f"- `{key}` failed on {row['name']}: {why}" for row in results["rows"] for key, why in row["failed"].items()]
    if notes:
        parts += ["\nWho did not run, and why:\n", "\n".join(notes)]
    return "\n".join(part for part in parts if part)


def put_between(text, made):
    """The README with `made` between its marks."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:start]}\n{made}\n{text[end:]}"


def rounded(value):
    """With numbers that can be read, in everything below."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def compact(results):
    """JSON with one line a run: readable as a file, and in a diff."""
    text = json.dumps(results, indent=1)
    return re.sub(r"\{[^{}\[\]]{,240}\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text) + "\n"


def main():
    results = json.loads((HERE / "results.json").read_text())
    made = render(results)
    if "--write" in sys.argv[1:]:
        readme = HERE / "README.md"
        readme.write_text(put_between(readme.read_text(), made))
    else:
        print(made)


if __name__ == "__main__":
    main()
