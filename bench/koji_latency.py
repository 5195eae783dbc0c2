#!/usr/bin/env python3
"""How long a line takes from a RUN step to the Koji hub, and what an idle builder costs.

Runs `osbs hub` and `osbs kojid`, each a process of its own, with a registry and a cluster on this machine. A RUN step
writes lines that say when they were written; this program reads the task's log by `downloadTaskOutput` every 50 ms, as
nobody's `koji watch-logs` does that often, and notes when each line is there. The clock is the one of /proc/uptime, the
same inside and outside of a container, in hundredths of a second.

usage: bench/koji_latency.py [--osbs PROGRAM] [--lines N] [--idle SECONDS] [--write]   (as root)
--write puts the table into README.md.
"""

import argparse
import base64
import contextlib
import datetime
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import xmlrpc.client

import machine
from registry import Registry, free_port

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- koji: made by koji_latency.py -->", "<!-- end of koji -->"
HOST, TARGET = "builder01.example.com", "bench-candidate"
POLL_S = 0.05
PATIENCE_S = 300
PLATFORM_LOG = "x86_64.log"


class Site:
    """A registry with a parent image, a hub, and what a builder needs. Its processes die with `stack`."""

    def __init__(self, stack, osbs):
        self.stack, self.osbs = stack, osbs
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="osbs-bench-koji-")))
        path = {"PATH": os.environ["PATH"]}
        self.environment = path | {"HOME": str(self.folder), "OSBS_HOME": str(self.folder / "home"), "LC_ALL": "C.UTF-8"}
        registry = Registry(self.folder / "registry", free_port())
        stack.callback(registry.stop)
        self.registry = f"127.0.0.1:{registry.port}"
        (self.folder / "osbs.conf").write_text(
            f"[default]\nopenshift_url = local://{self.folder}/home\ncan_orchestrate = true\n"
        )
        (self.folder / "config.yaml").write_text(
            "version: 1\nclusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n"
            f"registries: [{{url: 'http://{self.registry}'}}]\n"
            f"source_registry: {{url: 'http://{self.registry}', insecure: true}}\n"
        )
        self.push_parent()
        self.start_hub()

    def run(self, *arguments):
        command = [self.osbs, "--config", self.folder / "osbs.conf", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode != 0:
            raise SystemExit(f"osbs {arguments}: {done.stderr}")
        return done.stdout

    def start(self, *arguments, stdout):
        command = [self.osbs, "--config", self.folder / "osbs.conf", *arguments]
        log = self.stack.enter_context(open(self.folder / "log", "ab"))
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log)
        self.stack.callback(end, process)
        return process

    def push_parent(self):
        context = self.folder / "base"
        programs = context / "root/bin"
        programs.mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), programs / "busybox")
        for name in ["sh", "seq", "sleep", "cut", "cat"]:
            (programs / name).symlink_to("busybox")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY root /\nENV PATH=/bin\nLABEL name=base version=1\n")
        self.run("image", "build", context, "--tag", f"{self.registry}/base:1", "--output", "push", "--quiet")

    def start_hub(self):
        hub = ("hub", "--dir", self.folder / "koji")
        self.run(*hub, "init")
        self.run(*hub, "add-target", "bench", "--arch", "x86_64")
        self.user_password = self.run(*hub, "add-user", "bench").strip()
        self.host_password = self.run(*hub, "add-host", HOST, "--arch", "x86_64").strip()
        self.run(*hub, "add-package", TARGET, "loud-container")
        self.hub = self.start(*hub, "serve", "--listen", "127.0.0.1:0", stdout=subprocess.PIPE)
        self.url = self.hub.stdout.readline().decode().strip()
        if not self.url:
            raise SystemExit("the hub does not start: " + (self.folder / "log").read_text())

    def start_builder(self, url):
        conf = self.folder / "kojid.conf"
        conf.write_text(
            f"[kojid]\nserver = {url}\nuser = {HOST}\npassword = {self.host_password}\nallowed_scms = *:{self.folder}/*\n"
        )
        return self.start("kojid", "--kojid-config", conf, stdout=subprocess.DEVNULL)

    def repository(self, lines, pause):
        """A build that writes lines, and when it does."""
        folder = self.folder / "git/loud"
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(
            "FROM base:1\nLABEL name=bench/loud com.redhat.component=loud-container version=1\n"
            f"RUN for i in $(seq {lines}); do read up idle </proc/uptime; echo \"line $i at $up\"; sleep {pause}; done\n"
        )
        script = "git -c init.defaultBranch=main init -q . && git add -A && git -c user.name=b -c user.email=b@b commit -qm x"
        subprocess.run(["sh", "-c", script], cwd=folder, check=True)
        return f"git+file://{folder}#main"

    def task(self, source):
        """A task for the build, by its submitter."""
        session = xmlrpc.client.ServerProxy(self.url, allow_none=True).login("bench", self.user_password)
        query = f"?session-id={session['session-id']}&session-key={session['session-key']}&callnum=0"
        options = {"git_branch": "main", "scratch": True}
        hub = xmlrpc.client.ServerProxy(self.url + query, allow_none=True)
        return hub.buildContainer(source, TARGET, options, None, "container")


def end(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def now():
    return float(pathlib.Path("/proc/uptime").read_text().split()[0])


def peak_mb(process):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s*(\d+) kB", text, re.M)[1]) / 1000


def processor_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def latencies(site, task):
    """Seconds from the writing of each line to the answer of the hub that has it."""
    hub = xmlrpc.client.ServerProxy(site.url, allow_none=True)
    offset, rest, found = 0, b"", []
    deadline = time.monotonic() + PATIENCE_S
    ended = False
    while time.monotonic() < deadline:
        asked = time.monotonic()
        try:
            piece = base64.b64decode(hub.downloadTaskOutput(task, PLATFORM_LOG, offset, 1 << 20))
        except xmlrpc.client.Fault:
            piece = b""
        there = now()
        offset += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if written := re.search(rb" - line \d+ at ([\d.]+)$", line):
                found.append(there - float(written[1]))
        if ended and not piece:
            return found, hub.getTaskInfo(task)["state"]
        ended = hub.getTaskInfo(task)["state"] not in (0, 1, 4)
        time.sleep(max(0.0, POLL_S - (time.monotonic() - asked)))
    raise SystemExit(f"task {task} does not end: " + (site.folder / "log").read_text())


class Counting(http.server.BaseHTTPRequestHandler):
    """Passes calls on to the hub, and counts them by method."""

    protocol_version = "HTTP/1.1"
    hub, calls = "", []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        method = re.search(rb"<methodName>([\w.]+)</methodName>", body)
        self.calls.append(method[1].decode() if method else "upload")
        host, _, path = self.hub.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=60)
        headers = {name: text for name, text in self.headers.items() if name.lower() not in ("host", "content-length")}
        query = self.path.partition("?")[2]
        connection.request("POST", f"/{path}" + (f"?{query}" if query else ""), body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/xml"))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def idle(site, seconds):
    """Calls a minute, processor time and memory of a builder that has nothing to do."""
    Counting.hub = site.url
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        builder = site.start_builder(f"http://127.0.0.1:{server.server_port}/kojihub")
        deadline = time.monotonic() + 60
        while "host.updateHost" not in Counting.calls:
            if time.monotonic() > deadline or builder.poll() is not None:
                raise SystemExit("kojid does not come up: " + (site.folder / "log").read_text())
            time.sleep(0.1)
        before, used, first = len(Counting.calls), processor_seconds(builder), time.monotonic()
        time.sleep(seconds)
        calls, minutes = Counting.calls[before:], (time.monotonic() - first) / 60
        result = {
            "calls_per_minute": round(len(calls) / minutes, 1),
            "methods": sorted(set(calls)),
            "processor_ms_per_minute": round((processor_seconds(builder) - used) * 1000 / minutes),
            "peak_mb": round(peak_mb(builder), 1),
        }
        end(builder)
        return result
    finally:
        server.shutdown()


def measure(osbs, lines, idle_seconds):
    with contextlib.ExitStack() as stack:
        site = Site(stack, osbs)
        rest = idle(site, idle_seconds)
        builder = site.start_builder(site.url)
        # No multiple of anybody's interval, so that every phase of it is met.
        task = site.task(site.repository(lines, 0.137))
        found, state = latencies(site, task)
        if state != 2 or len(found) != lines:
            log = (site.folder / "log").read_text()
            raise SystemExit(f"{len(found)} of {lines} lines, task in state {state}: {log}")
        quantiles = statistics.quantiles(found, n=20)
        return {
            "lines": lines,
            "median_s": round(statistics.median(found), 2),
            "p95_s": round(quantiles[18], 2),
            "longest_s": round(max(found), 2),
            "builder_peak_mb": round(peak_mb(builder), 1),
            "hub_peak_mb": round(peak_mb(site.hub), 1),
            "idle": rest,
        }


def table(result, osbs, facts):
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    load = os.getloadavg()[1]
    kind = "a debug build" if "debug" in str(osbs) else "a release build"
    rest = result["idle"]
    rows = [
        ("line written in a RUN to line on the hub, median", f"{result['median_s']:.2f} s"),
        ("the same, 95 % of the lines within", f"{result['p95_s']:.2f} s"),
        ("the same, the slowest", f"{result['longest_s']:.2f} s"),
        ("peak memory of `osbs kojid` with that build", f"{result['builder_peak_mb']:.0f} MB"),
        ("peak memory of `osbs hub`", f"{result['hub_peak_mb']:.0f} MB"),
        ("calls of an idle `osbs kojid` to the hub", f"{rest['calls_per_minute']:.0f} a minute"),
        ("processor time of an idle `osbs kojid`", f"{rest['processor_ms_per_minute']} ms a minute"),
        ("peak memory of an idle `osbs kojid`", f"{rest['peak_mb']:.0f} MB"),
    ]
    text = [
        f"{date}, {kind}, {result['lines']} lines: {facts['cores']} cores of {facts['cpu']}, load {load:.1f} in the last "
        "five minutes.",
        "",
        "| figure | measured |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--osbs", type=pathlib.Path, default=HERE.parent / "target/release/osbs")
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch an idle builder [%(default)s]")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    if os.getuid() != 0:
        raise SystemExit("builds mount overlayfs and run containers: run it as root")
    for need in ["docker-registry", "runc", "busybox", "git"]:
        if not shutil.which(need):
            raise SystemExit(f"{need} is missing: scripts/setup.sh test")
    if not options.osbs.exists():
        raise SystemExit(f"{options.osbs} is missing: cargo build --release --package osbs")
    result = measure(options.osbs.resolve(), options.lines, options.idle)
    text = table(result, options.osbs, machine.facts())
    print(text)
    print(json.dumps(result))
    if options.write:
        readme = HERE / "README.md"
        before, _, rest = readme.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
