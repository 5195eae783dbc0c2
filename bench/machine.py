"""The machine's limits, and the work that no builder can avoid, measured in the same run as the race."""

import hashlib
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import statistics
import subprocess
import threading
import time
import zlib

import workloads

MB = 1_000_000
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")


def seconds_of(work, times=1):
    """The best of some runs: a limit is what the machine can do, not what it does when disturbed."""
    best = None
    for _ in range(times):
        started = time.perf_counter()
        work()
        took = time.perf_counter() - started
        best = took if best is None else min(best, took)
    return best


def facts():
    """What machine this is."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", text, re.M)
    memory = int(re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)[1]) / 1024
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": round(memory),
        "kernel": platform.release(),
    }


class Machine:
    """Measures below `folder`, which is on the file system that the tools use."""

    def __init__(self, folder, osbs, tiny):
        self.folder, self.osbs, self.tiny = folder, osbs, tiny
        self.scale = 16 if tiny else 1
        folder.mkdir(parents=True, exist_ok=True)

    def limits(self, registry, data):
        """Rates in MB/s (1,000,000 bytes), times in seconds; `data` is a folder of real content."""
        sample = self.sample(data)
        found = {"sha256_mb_s": self.sha256(sample)}
        found |= self.compressor(data)
        found["gunzip_mb_s"] = self.gunzip(sample)
        found |= self.disk()
        found |= self.registry(registry)
        found["container_s"] = self.container()
        return {name: float(f"{value:.4g}") for name, value in found.items()}

    def sample(self, data):
        """Some real content in memory."""
        parts, size = [], 0
        for path in sorted(pathlib.Path(data).rglob("*")):
            if path.is_file():
                parts.append(path.read_bytes())
                size += len(parts[-1])
            if size > 256 * MB // self.scale:
                break
        return b"".join(parts)

    def sha256(self, sample):
        """One core: a digest cannot be made by two."""
        return len(sample) / MB / seconds_of(lambda: hashlib.sha256(sample).digest(), 3)

    def gunzip(self, sample):
        """One core, with the C library's zlib: a gzip member cannot be unpacked by two."""
        packed = zlib.compress(sample, 6, 31)
        return len(sample) / MB / seconds_of(lambda: zlib.decompress(packed, 31), 2)

    def compressor(self, data):
        """Our default compression on all cores, with nothing else to do: from the processor time that it adds to making a
        layer of the same tree without compression. Blocks are compressed side by side, so all cores can be filled."""
        context = self.folder / "compress"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY data /data\n")
        if not (context / "data").exists():
            (context / "data").mkdir()
            # A third of the large row's tree: enough to measure, and soon done.
            for part in sorted(pathlib.Path(data).iterdir())[:8]:
                subprocess.run(["cp", "-a", part, context / "data"], check=True)
        size = sum(path.stat().st_size for path in (context / "data").rglob("*") if path.is_file())
        added = self.layer_cpu(context, "gzip") - self.layer_cpu(context, "none")
        return {"compressor_mb_s": size / MB * os.cpu_count() / max(added, 0.001)}

    def layer_cpu(self, context, method):
        """Seconds of processor that osbs itself spends on an image of one layer: the best of two."""
        out, best = self.folder / "layout", None
        env = os.environ | {"OSBS_HOME": str(self.folder / "home")}
        args = [self.osbs, "image", "build", context, "--compression", method, "--output", f"oci:{out}"]
        for _ in range(2):
            shutil.rmtree(out, ignore_errors=True)
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            run = subprocess.run(args, capture_output=True, text=True, env=env, check=False)
            if run.returncode != 0:
                raise SystemExit(f"osbs cannot make an image of {context}: {run.stderr[-500:]}")
            took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            best = took if best is None else min(best, took)
        return best

    def disk(self):
        """Writing into the page cache, writing until it is on the disk, and reading what is not in the cache."""
        size = 1024 * MB // self.scale
        path, block = self.folder / "disk", os.urandom(4 * MB)

        def write(sync):
            with open(path, "wb", buffering=0) as file:
                for _ in range(max(1, size // len(block))):
                    file.write(block)
                if sync:
                    os.fsync(file.fileno())

        def read():
            with open(path, "rb", buffering=0) as file:
                while file.read(4 * MB):
                    pass

        cached = seconds_of(lambda: write(False), 3)
        synced = seconds_of(lambda: write(True), 2)
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        written = path.stat().st_size / MB
        reading = seconds_of(read)
        path.unlink()
        return {"write_mb_s": written / cached, "write_synced_mb_s": written / synced, "read_mb_s": written / reading}

    def registry(self, registry):
        """One plain PUT of what does not compress, and the smallest request."""
        path = self.folder / "blob"
        size = 256 * MB // self.scale
        rates = []
        for _ in range(2):
            path.write_bytes(os.urandom(size))
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            rates.append(size / MB / seconds_of(lambda digest=digest: registry.put_blob("limits", path, digest)))
        path.unlink()
        times = [seconds_of(lambda: registry.request("GET", "/v2/")) for _ in range(30)]
        return {"put_mb_s": max(rates), "request_s": statistics.median(times)}

    def container(self):
        """Starting and ending a container of `runc` that does nothing."""
        bundle = self.folder / "bundle"
        (bundle / "rootfs/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", bundle / "rootfs/bin/true")
        if not (bundle / "config.json").exists():
            subprocess.run(["runc", "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"args": ["/bin/true"], "terminal": False, "rlimits": []}
        (bundle / "config.json").write_text(json.dumps(config))
        name = f"bench-{os.getpid()}"
        run = ["runc", "run", "--bundle", str(bundle), name]
        return seconds_of(lambda: subprocess.run(run, stdin=subprocess.DEVNULL, check=True), 5)

    def work(self, name, workload, folder):
        """The workload's own work done by hand: what COPY copies by `cp`, what RUN runs in a chroot, stages side by side,
        and then a walk by `tar` over what came of it. Into a pipe: GNU tar reads no file when it writes to /dev/null.
        """
        place = self.folder / f"work-{name}"
        shutil.rmtree(place, ignore_errors=True)
        roots = {}
        for stage, _ in workload.stages:
            roots[stage] = place / (stage or "last")
            (roots[stage] / "bin").mkdir(parents=True)
            (roots[stage] / "srv").mkdir(mode=0o777)
            shutil.copy("/bin/busybox", roots[stage] / "bin/busybox")
            for program in workloads.PROGRAMS:
                (roots[stage] / "bin" / program).symlink_to("busybox")
        failures = []

        def stage(item):
            try:
                _by_hand(folder / "context", roots, *item)
            except (OSError, subprocess.CalledProcessError) as error:
                failures.append(error)

        def all_stages():
            threads = [threading.Thread(target=stage, args=[item]) for item in workload.stages[:-1]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stage(workload.stages[-1])

        os.sync()
        done = seconds_of(all_stages)
        if failures:
            raise SystemExit(f"{name}: the work by hand failed: {failures[0]}")
        last = roots[workload.stages[-1][0]]
        walk = f"tar -C {last} -cf - srv | cat >/dev/null"
        files = [path for path in (last / "srv").rglob("*") if path.is_file()]
        return {
            "work_s": done,
            "walk_s": seconds_of(lambda: subprocess.run(["bash", "-c", walk], check=True), 2),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
        }


def _by_hand(context, roots, name, lines):
    """One stage's instructions that make files."""
    root, workdir = roots[name], "/"
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "WORKDIR":
            workdir = rest
            (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *options, source, target = rest.split()
            start = roots[options[0].removeprefix("--from=")] if options else context
            source, target = start / source.lstrip("/"), root / target.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aT", "--reflink=auto", source, target], check=True)
        elif word == "RUN":
            command = f"cd {workdir} && {rest}"
            subprocess.run([CHROOT, root, "/bin/sh", "-c", command], check=True, env={"PATH": "/bin"})


def versions():
    """Of what every tool uses."""
    found = {}
    for program, place in [("docker-registry", 2), ("runc", 2), ("gzip", 1)]:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found[program] = run.stdout.split("\n")[0].split()[place]
    return found
