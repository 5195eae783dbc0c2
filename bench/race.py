"""Runs the worker's job (build, push, compressed docker-archive) by osbs and by buildah, push, docker-archive and gzip.

Runs alternate, every run has a fresh registry that holds only the parent image, and the parent is known to both before
the clock starts. Medians and ratios are printed and written as JSON.
"""

import argparse
import json
import os
import pathlib
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

import workloads

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = (
    "{osbs} image build {context} --build-arg BASE={base} --tag {target} --insecure"
    " --output push --output docker-archive:{archive}"
)


class Registry:
    """A docker-registry on loopback whose storage is a copy of a template."""

    def __init__(self, folder, port, template=None):
        self.data, self.port = folder / "data", port
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if template:
            subprocess.run(["cp", "-a", "--reflink=auto", template, self.data], check=True)
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.data}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: 127.0.0.1:{port}}}\n"
        )
        log = open(folder / "log", "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        deadline = time.time() + 10
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
                return
            except OSError:
                if time.time() > deadline or self.process.poll() is not None:
                    sys.exit(f"docker-registry does not answer: see {folder}/log")
                time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(args, log, env=None):
    """Seconds and the largest resident memory (MB) of the process and its children."""
    started = time.monotonic()
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        log.flush()
        tail = pathlib.Path(log.name).read_text(errors="replace").splitlines()[-15:]
        sys.exit("failed: " + shlex.join(map(str, args)) + "\n" + "\n".join(tail))
    return time.monotonic() - started, usage.ru_maxrss / 1024


class Ours:
    name = "osbs"

    def __init__(self, cache, log, workload):
        self.log, self.out = log, cache / "out.tar.gz"
        self.osbs = os.environ.get("OSBS", str(ROOT / "target/release/osbs"))
        self.command = os.environ.get("OSBS_COMMAND", COMMAND)
        self.home = cache / "storage" / f"osbs-{workload}"
        self.env = os.environ | {"OSBS_HOME": str(self.home)}

    def prepare(self, context, base, port):
        # Pulls and unpacks the parent, as the peer's `pull` does.
        self.job(context, base, f"127.0.0.1:{port}/warm:1")
        self.clean()

    def job(self, context, base, target):
        fields = {"osbs": self.osbs, "context": context, "base": base, "target": target, "archive": self.out}
        args = [part.format(**fields) for part in shlex.split(self.command)]
        return run(args, self.log, self.env)

    def clean(self):
        self.out.unlink(missing_ok=True)


class Pipeline:
    """buildah bud, buildah push, buildah push docker-archive:, gzip: what a worker did with existing tools."""

    def __init__(self, cache, log, workload):
        self.log, self.out = log, cache / "out.tar"
        self.storage = cache / "storage" / f"buildah-{workload}"
        version = subprocess.run(["buildah", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
        self.name = f"buildah {version} + push + docker-archive + gzip"
        self.limits = self.allowed_limits(cache)

    def buildah(self, *args):
        root = ["--root", self.storage / "root", "--runroot", self.storage / "run", "--storage-driver", "overlay"]
        return ["buildah", *map(str, root), *map(str, args)]

    def allowed_limits(self, cache):
        """buildah raises limits, which root without CAP_SYS_RESOURCE may not: take the largest that works."""
        files = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        probe = cache / "probe"
        probe.mkdir(exist_ok=True)
        shutil.copy("/bin/busybox", probe / "busybox")
        (probe / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN true\n")
        for processes in (96_365, 32_768, 4_096):
            limits = ["--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}"]
            args = self.buildah("bud", "--isolation", "chroot", *limits, "-t", "probe", probe)
            if subprocess.run(args, stdout=self.log, stderr=self.log, check=False).returncode == 0:
                return limits
        sys.exit(f"buildah cannot run a RUN here: see {self.log.name}")

    def prepare(self, context, base, port):
        run(self.buildah("pull", "--tls-verify=false", base), self.log)

    def job(self, context, base, target):
        build = ["bud", "--isolation", "chroot", *self.limits, "--pull-never", "--build-arg", f"BASE={base}"]
        steps = [
            self.buildah(*build, "-t", "bench", context),
            self.buildah("push", "--tls-verify=false", "bench", f"docker://{target}"),
            self.buildah("push", "bench", f"docker-archive:{self.out}:bench:1"),
            ["gzip", "-f", str(self.out)],
        ]
        measured = [run(step, self.log) for step in steps]
        return sum(seconds for seconds, _ in measured), max(memory for _, memory in measured)

    def clean(self):
        pathlib.Path(f"{self.out}.gz").unlink(missing_ok=True)


def race(name, cache, runs, log):
    folder = workloads.make(cache, name)
    context, port = folder / "context", free_port()
    base = f"127.0.0.1:{port}/base:1"
    template = Registry(cache / "registry-template", port)
    run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{folder}/parent:base", f"docker://{base}"], log)
    contenders = [Ours(cache, log, name), Pipeline(cache, log, name)]
    for contender in contenders:
        contender.prepare(context, base, port)
    template.stop()
    # Only the parent is to be there.
    shutil.rmtree(template.data / "docker/registry/v2/repositories/warm", ignore_errors=True)
    seconds, memory = {c: [] for c in contenders}, {c: 0.0 for c in contenders}
    for number in range(runs):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            registry = Registry(cache / "registry", port, template.data)
            os.sync()
            try:
                took, peak = contender.job(context, base, f"127.0.0.1:{port}/built:{number}")
            finally:
                registry.stop()
            contender.clean()
            seconds[contender].append(took)
            memory[contender] = max(memory[contender], peak)
            print(f"  {name} run {number + 1}: {contender.name}: {took:.2f} s", flush=True)
    ours, peer = contenders
    ours_s, peer_s = statistics.median(seconds[ours]), statistics.median(seconds[peer])
    return {
        "workload": name,
        "peer": peer.name,
        "ours_s": round(ours_s, 3),
        "peer_s": round(peer_s, 3),
        "ratio": round(peer_s / ours_s, 2),
        "ours_peak_mb": round(memory[ours], 1),
    }


def forget(cache):
    """Images are removed before and after everything only: ext4 without a journal makes files slowly for a minute after
    many were deleted, and neither contender is to suffer from the other's cleaning."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        point = line.split(" ")[1]
        if point.startswith(str(cache / "storage")):
            subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(cache / "storage", ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(workloads.WORKLOADS))
    options = parser.parse_args()
    cache = options.cache.resolve()
    results = []
    forget(cache)
    with open(cache / "log", "w", encoding="utf-8") as log:
        for name in options.workloads.split(","):
            print(f"{name}: making the workload (once) and warming up", flush=True)
            results.append(race(name, cache, options.runs, log))
    forget(cache)
    options.results.write_text(json.dumps(results, indent=2) + "\n")
    row = "{:8} {:>9} {:>9} {:>7} {:>8}  {}"
    print("\n" + row.format("workload", "osbs", "peer", "ratio", "peak MB", "peer"))
    for r in results:
        numbers = [f"{r['ours_s']:.2f} s", f"{r['peer_s']:.2f} s", f"{r['ratio']:.1f}", f"{r['ours_peak_mb']:.0f}"]
        print(row.format(r["workload"], *numbers, r["peer"]))
    print(f"\nmedians of {options.runs} runs; written to {options.results}")


if __name__ == "__main__":
    main()
