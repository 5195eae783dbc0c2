"""Where the processor time of a row goes: perf over osbs, what it starts, and the registry, grouped by what is done.

Without perf: the phases that osbs itself prints. Prints a table; with --write it also goes into results.json, and from
there into README.md.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import shutil
import subprocess
import time

import contenders
import figures
import workloads
from race import HERE, ROWS, forget, forget_soon, phases_of, read_once
from registry import Registry, free_port

FREQUENCY = 997
# The first that matches: process name, then symbol of the program, then symbol of the kernel.
PROCESSES = [("docker-registry", "registry"), ("runc", "runc"), ("exe", "runc")]
PROGRAM = [
    (r"sha256|sha2::|sha256_digest_blocks", "SHA-256"),
    (r"md5", "MD5"),
    (r"crc32", "CRC-32"),
    (r"zlib_rs::inflate|inflate|miniz_oxide", "inflate"),
    (r"zlib_rs|deflate|longest_match|compress_block|slide_hash", "compression"),
    (r"zstd|ZSTD|FSE|HUF", "zstd"),
    (r"memcpy|memmove|memset", "copies in memory"),
    (r"malloc|free|realloc|alloc", "allocation"),
]
KERNEL = [
    (r"copy_to_iter|copy_from_iter|copy_folio|copy_page|rep_movs|copy_user|copy_splice|memcpy", "kernel: copying bytes"),
    (r"clear_page|fault|mmap|vma|pte|folio_add|unmap|rmap|lru|zap", "kernel: memory"),
    (r"tcp|skb|sock|inet|ip_|net_|loopback|dev_|nf_", "kernel: network"),
    (r"ext4|jbd2|filemap|folio|page_cache|xas_|xa_|iomap|writeback|blk|bio|buffer|block", "kernel: files and page cache"),
    (r"path|dentry|inode|lookup|namei|open|vfs|ovl|security|cred|stat|getdents|d_", "kernel: names and inodes"),
    (r"futex|sched|schedule|wake|idle|switch|spin|queue_work", "kernel: scheduling"),
]


def group(process, shared, symbol, program):
    """What a sample is spent on. `program`: the name of our binary's file."""
    for name, found in PROCESSES:
        if process.startswith(name):
            return found
    kernel = shared.startswith("[")
    if process in workloads.PROGRAMS and shared != program:
        return "programs of RUN"
    for pattern, found in KERNEL if kernel else PROGRAM:
        if re.search(pattern, symbol):
            return found
    return "kernel: the rest" if kernel else "osbs: the rest"


def samples(data):
    """Count, process, shared object and symbol of everything that perf saw."""
    fields = ["perf", "report", "-i", str(data), "--stdio", "--no-children", "-g", "none", "-t", ";"]
    run = subprocess.run([*fields, "-F", "sample,comm,dso,sym"], capture_output=True, text=True, check=True)
    for line in run.stdout.splitlines():
        parts = [part.strip() for part in line.split(";", 3)]
        if len(parts) == 4 and parts[0].isdigit():
            yield int(parts[0]), parts[1], parts[2], re.sub(r"^\[.\] ", "", parts[3])


def record(data, *more):
    options = ["perf", "record", "-q", "-F", str(FREQUENCY), "-e", "cpu-clock", "-o", str(data)]
    return subprocess.Popen([*options, *map(str, more)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Profiled(contenders.Osbs):
    """osbs under perf, the registry under a perf of its own."""

    def profiled(self, context, base, target, registry, folder):
        env = os.environ | {"OSBS_HOME": str(self.storage)}
        other = record(folder / "registry.data", "-p", registry.process.pid)
        time.sleep(0.3)
        options = ["perf", "record", "-q", "-F", str(FREQUENCY), "-e", "cpu-clock", "-o", str(folder / "osbs.data"), "--"]
        job = contenders.Job()
        job.step("all", [*options, *self.arguments(context, base, target)], self.log, env)
        other.send_signal(signal.SIGINT)
        other.wait()
        return job


def measure(cache, row, symbols, log):
    """Seconds, share of idle processors, and samples by group and by symbol."""
    workload, folder = workloads.make(cache, row.workload)
    port = free_port()
    base = f"127.0.0.1:{port}/base:1"
    place = cache / "storage" / f"profile-{row.name}"
    tool = Profiled(place, f"127.0.0.1:{port}", log)
    tool.start()
    template = Registry(cache / "registry-template", port)
    try:
        subprocess.run(
            ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{folder}/parent:base", f"docker://{base}"], check=True
        )
        if row.kind != "first":
            tool.learn(folder / "warm", base)
    finally:
        template.stop()
    template.remove_repository("warm")
    registry = Registry(cache / "registry", port, template.data)
    read_once(folder / "context")
    os.sync()
    try:
        begun = log.tell()
        if shutil.which("perf") is None:
            job = tool.job(folder / "context", base, f"127.0.0.1:{port}/built:1", cached=False)
            return {"seconds": job.seconds, "phases": phases_of(pathlib.Path(log.name), begun, job.seconds)}
        job = tool.profiled(folder / "context", base, f"127.0.0.1:{port}/built:1", registry, place)
        phases = phases_of(pathlib.Path(log.name), begun, job.seconds)
    finally:
        registry.stop()
        tool.clean()
    program = pathlib.Path(tool.osbs).name
    groups, top, busy = {}, {}, 0
    for data in ["osbs.data", "registry.data"]:
        for count, process, shared, symbol in samples(place / data):
            name = group(process, shared, symbol, program)
            groups[name] = groups.get(name, 0) + count
            top[process, shared, symbol] = top.get((process, shared, symbol), 0) + count
            busy += count
    shares = {name: round(100 * count / busy, 1) for name, count in sorted(groups.items(), key=lambda item: -item[1])}
    if symbols:
        for (process, shared, symbol), count in sorted(top.items(), key=lambda item: -item[1])[:symbols]:
            print(f"{100 * count / busy:5.1f} %  {count / FREQUENCY:7.3f} s  {process:16} {shared:24} {symbol[:90]}")
    idle = 100 - 100 * busy / FREQUENCY / (job.seconds * os.cpu_count())
    return {
        "seconds": round(job.seconds, 2),
        "busy_s": round(busy / FREQUENCY, 2),
        "idle": round(max(idle, 0)),
        "phases": phases,
        "groups": {name: share for name, share in shares.items() if share >= 0.5},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("row", choices=[row.name for row in ROWS])
    parser.add_argument("--symbols", type=int, default=0, help="show so many of the symbols, too")
    parser.add_argument("--write", action="store_true", help="into results.json")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results.json", help="another file in its place")
    parser.add_argument("--keep", action="store_true", help="leave what was stored: the race removes it at its end")
    options = parser.parse_args()
    cache = options.cache.resolve()
    if not options.keep:
        forget(cache)
    (cache / "storage").mkdir(parents=True, exist_ok=True)
    row = next(row for row in ROWS if row.name == options.row)
    with open(cache / "profile.log", "w+", encoding="utf-8") as log:
        found = measure(cache, row, options.symbols, log)
    if not options.keep:
        forget_soon(cache)
    phases = ", ".join(f"{name} {value:.2f}" for name, value in found["phases"].items())
    print(f"{row.name}: {found['seconds']:.2f} s under perf; {phases}")
    if "groups" not in found:
        print("perf is missing (apt-get install linux-perf): these phases are all")
        return
    print(f"{found['busy_s']:.2f} s of processors, {found['idle']} % idle")
    for name, share in found["groups"].items():
        print(f"{share:5.1f} %  {found['busy_s'] * share / 100:6.2f} s  {name}")
    if options.write:
        results = json.loads(options.results.read_text())
        results.setdefault("profiles", {})[row.name] = found
        options.results.write_text(figures.compact(results))


if __name__ == "__main__":
    main()
