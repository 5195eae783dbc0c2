"""Runs the worker's job (build, push, compressed docker archive) by osbs and by its peers, row by row.

Runs alternate. Every run meets a fresh registry that holds only the parent, a context that was just read, and disks that
have nothing left to write; the parent is known to all before the clock starts, where the row does not say otherwise.
The first output of each tool is checked. The machine's limits are measured first, and each row's own work by hand.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import contenders
import figures
import machine
import outputs
import workloads
from registry import Registry, free_port

HERE = pathlib.Path(__file__).resolve().parent
# More files than this make ext4 slow for a while after they were removed.
MANY_FILES = 10_000
PAUSE_S = 45


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    workload: str
    kind: str = "normal"


# `first` begins, because it leaves old storage behind; what removes or makes many files comes last.
ROWS = [
    Row("first", "small", "first"),
    Row("small", "small"),
    Row("unchanged", "small", "unchanged"),
    Row("instructions", "instructions"),
    Row("stages", "stages"),
    Row("layers", "layers"),
    Row("files", "files"),
    Row("large", "large"),
]


class Race:
    def __init__(self, cache, options, log):
        self.cache, self.options, self.log = cache, options, log
        self.started = time.monotonic()
        self.port = free_port()
        self.absent, self.tools, self.running = {}, {}, []
        self.learnt, self.by_hand = set(), {}
        self.machine = None

    def say(self, text):
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)

    def start(self):
        for kind in [contenders.Osbs, *contenders.PEERS]:
            if kind is not contenders.Osbs and self.options.peers and kind.key not in self.options.peers:
                continue
            try:
                tool = kind(self.cache / "storage", f"127.0.0.1:{self.port}", self.log)
                tool.start()
            except contenders.Unavailable as why:
                self.absent[kind.key] = str(why)
                self.say(f"{kind.key} takes no part: {why}")
                if kind is contenders.Osbs:
                    raise SystemExit(5) from why
            else:
                self.running.append(tool)
                self.tools[tool.key] = {"version": tool.version, "how": tool.how}
        self.machine = machine.Machine(self.cache / "storage" / "machine", pathlib.Path(self.running[0].osbs), self.tiny)

    @property
    def tiny(self):
        return self.options.smoke

    def stop(self):
        for tool in self.running:
            tool.stop()

    def limits(self):
        self.say("measuring the machine's limits")
        _, folder = workloads.make(self.cache, "large", self.tiny)
        registry = Registry(self.cache / "registry", self.port)
        try:
            return self.machine.limits(registry, folder / "context" / "data")
        finally:
            registry.stop()

    def row(self, row):
        """Runs of every tool, seconds and memory of each, with what the floor needs to know."""
        workload, folder = workloads.make(self.cache, row.workload, self.tiny)
        self.say(f"{row.name}: the work by hand, and the parent for all")
        if row.workload not in self.by_hand:
            self.by_hand[row.workload] = self.machine.work(row.workload, workload, folder)
        by_hand = self.by_hand[row.workload]
        base = f"127.0.0.1:{self.port}/base-{row.workload}:1"
        template = Registry(self.cache / "registry-template", self.port)
        found = {"name": row.name, "kind": row.kind, "runs": {}, "failed": {}}
        try:
            copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{folder}/parent:base", f"docker://{base}"]
            subprocess.run(copy, check=True, stdout=self.log, stderr=self.log)
            for tool in self.running:
                if row.kind != "first":
                    self.learn(tool, row, folder, base, found)
        finally:
            template.stop()
        template.remove_repository("warm")
        sizes, phases = self.runs(row, workload, folder, base, template.data, found)
        parent = {"parent_layers": workload.parent_layers, "parent_bytes": workload.parent_mb * workloads.MEGA}
        found["sizes"] = by_hand | parent | {"containers": workload.runs_in_a_row()} | sizes
        found["phases_s"] = phases
        return found

    def profiles(self, results, place):
        """Where our time goes in the rows that miss a target."""
        for row in results["rows"]:
            if row["missed"] and row["name"] in self.options.rows and figures.OURS not in row["failed"]:
                self.say(f"{row['name']} misses {', '.join(row['missed'])}: profiling it")
                program = [sys.executable, HERE / "profile_row.py", "--cache", self.cache, "--keep", "--results", place]
                subprocess.run([*program, "--write", row["name"]], check=False, stdout=self.log, stderr=self.log)
        return json.loads(place.read_text())

    def learn(self, tool, row, folder, base, found):
        if (tool.key, row.workload) in self.learnt:
            return
        try:
            tool.learn(folder / "warm", base)
            self.learnt.add((tool.key, row.workload))
        except contenders.Unavailable as why:
            found["failed"][tool.key] = str(why)
            self.say(f"  {tool.key}: {why}")

    def runs(self, row, workload, folder, base, template, found):
        """Alternating runs; a peer that has used its patience on this row is not asked again."""
        sizes, phases, spent = {}, [], {}
        for number in range(self.options.runs):
            order = self.running[number % len(self.running) :] + self.running[: number % len(self.running)]
            read_once(folder / "context")
            for tool in order:
                ours = tool.key == figures.OURS
                if tool.key in found["failed"] or (not ours and spent.get(tool.key, 0) >= self.options.patience):
                    continue
                try:
                    job, facts = self.one(tool, row, workload, folder, base, template, number)
                except (contenders.Unavailable, outputs.Wrong) as why:
                    found["failed"][tool.key] = str(why)
                    found["runs"].pop(tool.key, None)
                    self.say(f"  {row.name} run {number + 1}: {tool.key} failed: {why}")
                    continue
                spent[tool.key] = spent.get(tool.key, 0) + job.seconds
                if ours:
                    phases.append(job.phases)
                    sizes = facts or sizes
                found["runs"].setdefault(tool.key, []).append(as_json(job))
                self.say(f"  {row.name} run {number + 1}: {tool.key} {job.seconds:.2f} s, {job.peak_mb:.0f} MB")
        names = dict.fromkeys(name for phase in phases for name in phase)
        medians = {name: round(figures.median([phase.get(name, 0.0) for phase in phases]), 3) for name in names}
        return sizes, medians

    def one(self, tool, row, workload, folder, base, template, number):
        """One run in a registry of its own, the clean-up after it, and a look at the output of a tool's first run."""
        if row.kind == "first":
            tool.forget()
        registry = Registry(self.cache / "registry", self.port, template)
        name = f"built-{tool.key}"
        target, context = f"127.0.0.1:{self.port}/{name}:{number}", folder / "context"
        try:
            if row.kind == "unchanged":
                tool.job(context, base, target, cached=True, archive=False)
            os.sync()
            begun = self.log.tell() if self.log.seekable() else 0
            job = tool.job(context, base, target, cached=row.kind == "unchanged")
            job.phases = phases_of(pathlib.Path(self.log.name), begun, job.seconds)
            facts = None
            if number == 0:
                hand = self.by_hand[row.workload]
                expected = (hand["files"], hand["bytes"])
                facts = outputs.check(registry, name, number, tool.archive, workload.parent_layers, expected)
            return job, facts
        finally:
            registry.stop()
            tool.clean()


def phases_of(log, begun, seconds):
    """What osbs said of its phases, and the rest of its time."""
    with open(log, encoding="utf-8", errors="replace") as text:
        text.seek(begun)
        found = {name: float(value) for value, name in re.findall(r"^ *([\d.]+) s  ([a-z][a-z ]*)$", text.read(), re.M)}
    return found | {"rest": round(seconds - sum(found.values()), 3)} if found else {}


def as_json(job):
    steps = {name: round(value, 3) for name, value in job.steps.items()}
    run = {"seconds": round(job.seconds, 3), "peak_mb": round(job.peak_mb, 1)}
    if job.cpu_s:
        run["cpu_s"] = round(job.cpu_s, 2)
    return run | (steps if len(steps) > 1 else {})


def read_once(folder):
    """Whoever comes first is not to pay for reading the disk."""
    subprocess.run(["bash", "-c", 'tar -C "$0" -cf - . | cat >/dev/null', folder], check=True)


def unmount(cache):
    """What a killed tool left mounted below the storage."""
    for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        point = line.split(" ")[1]
        if point.startswith(str(cache / "storage")):
            subprocess.run(["umount", "-l", point], check=False)


def forget(cache):
    """Removes storage, that of an earlier race too, and says how many files that were. Before and after everything only:
    ext4 makes files slowly for a while after many were removed, and no tool is to suffer from another's cleaning."""
    unmount(cache)
    files = 0
    for place in [cache / "storage", *cache.glob("removing-*")]:
        for _, folders, names in os.walk(place):
            files += len(names) + len(folders)
        shutil.rmtree(place, ignore_errors=True)
    return files


def forget_soon(cache):
    """The same in the background: it can take minutes, and nobody waits for it."""
    unmount(cache)
    place = cache / f"removing-{os.getpid()}"
    (cache / "storage").rename(place)
    subprocess.Popen(["rm", "-rf", place], start_new_session=True, stdin=subprocess.DEVNULL)


def file_system(path):
    run = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", path], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "an unknown file system"


def commit():
    run = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "no commit"


def merged(results, path):
    """The results with the rows of an earlier file that were not run this time."""
    if not path.exists():
        return results
    old = json.loads(path.read_text())
    if not isinstance(old, dict):
        # Written by the first form of the race.
        return results
    new = {row["name"]: row for row in results["rows"]}
    rows = {row["name"]: row for row in old["rows"]} | new
    order = [row.name for row in ROWS]
    results["rows"] = sorted(rows.values(), key=lambda row: order.index(row["name"]))
    kept = {name: profile for name, profile in old.get("profiles", {}).items() if name not in new}
    return results | {"profiles": kept}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, help="default: results.json here; with --smoke, in the cache")
    every = ",".join(row.name for row in ROWS)
    parser.add_argument("--rows", default=every, help="which, by name; the others are kept as they are")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="which, by name (default: all)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--patience", type=float, default=15, help="seconds of a row after which a peer is not run again")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one run: does everything work?")
    options = parser.parse_args()
    options.rows = options.rows.split(",")
    unknown = set(options.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in ROWS)}")
    if options.smoke:
        options.runs = 1
    return options


def main():
    options = arguments()
    # Ends what was started, as an interrupt from the keyboard does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache = options.cache.resolve()
    place = options.results or (cache / "smoke-results.json" if options.smoke else HERE / "results.json")
    if forget(cache) > MANY_FILES:
        print(f"many files of an earlier race were removed: waiting {PAUSE_S} s for the file system", flush=True)
        os.sync()
        time.sleep(PAUSE_S)
    free, needed = shutil.disk_usage(cache).free / 1e9, 2 if options.smoke else 20
    if free < needed:
        raise SystemExit(f"{cache} has {free:.0f} GB free, the race needs {needed}: free some, or name another folder")
    (cache / "storage").mkdir()
    with open(cache / "log", "w+", encoding="utf-8") as log:
        race = Race(cache, options, log)
        try:
            race.start()
            limits = race.limits()
            rows = [race.row(row) for row in ROWS if row.name in options.rows]
            race.stop()
            results = collected(race, limits, rows)
            if not options.smoke and len(options.rows) < len(ROWS):
                results = merged(results, place)
            place.write_text(figures.compact(results))
            if not options.smoke and shutil.which("perf"):
                results = race.profiles(results, place)
        finally:
            race.stop()
            race.say("removing what the tools stored, in the background")
            forget_soon(cache)
    for table in [figures.race_table, figures.limits_table, figures.floor_table]:
        print("\n" + table(results))
    race.say(f"written to {place}")
    if any(figures.OURS in row["failed"] for row in results["rows"]):
        raise SystemExit("osbs did not end every row")


def collected(race, limits, rows):
    """All that results.json holds."""
    about = machine.facts() | {"file_system": file_system(race.cache)}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": about,
        "versions": machine.versions(),
        "tools": race.tools,
        "absent": race.absent,
        "limits": limits,
        "rows": [figures.rounded(figures.summary(row, limits, about["cores"])) for row in rows],
    }


if __name__ == "__main__":
    main()
