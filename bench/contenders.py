"""The tools that race: each does the worker's job (build, push, compressed docker-archive) in the way its users do it.

A tool that is missing or cannot work on this machine says why in `Unavailable`, so that the figures can.
"""

import os
import pathlib
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = (
    "{osbs} -v image build {context} --build-arg BASE={base} --tag {target} --insecure"
    " --output push --output docker-archive:{archive}"
)
# No step of any job takes half as long.
STEP_LIMIT = 900
MEASURE = pathlib.Path(__file__).resolve().parent / "measure.py"


class Unavailable(Exception):
    """Why a tool does not take part; or why it did not end its job."""


class Job:
    """Seconds of each step, largest resident memory of any process (MB), and processor seconds, as they add up."""

    def __init__(self):
        self.steps, self.peak_mb, self.cpu_s = {}, 0.0, 0.0

    @property
    def seconds(self):
        return sum(self.steps.values())

    def step(self, name, args, log, env=None, shell=False):
        args = ["bash", "-c", "set -o pipefail; " + args] if shell else [str(part) for part in args]
        reader, writer = os.pipe()
        # Measured by a small process of its own: a child's peak is never below that of who started it.
        process = subprocess.Popen(
            [sys.executable, "-ISE", MEASURE, str(writer), *args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        # One hanging tool is not to cost the whole race, and none is to outlive it.
        limit = threading.Timer(STEP_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            with open(reader, encoding="utf-8") as pipe:
                measured = pipe.read().split()
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            limit.cancel()
        if process.returncode != 0 or len(measured) != 3:
            log.flush()
            lines = pathlib.Path(log.name).read_text(errors="replace").splitlines()
            raise Unavailable(f"{name} failed with {process.returncode}: {' / '.join(lines[-3:])}"[:400])
        seconds, peak_mb, cpu_s = map(float, measured)
        self.steps[name] = self.steps.get(name, 0.0) + seconds
        self.peak_mb = max(self.peak_mb, peak_mb)
        self.cpu_s += cpu_s


def output_of(*args):
    """First line that a program prints; says that it is missing when it is."""
    if shutil.which(args[0]) is None:
        raise Unavailable(f"{args[0]} is not installed")
    run = subprocess.run(args, capture_output=True, text=True, check=False)
    return (run.stdout or run.stderr).strip().splitlines()[0]


class Contender:
    """One tool with its own storage below `folder`. `version` is known after the constructor."""

    key = ""
    how = ""

    def __init__(self, folder, registry, log):
        self.folder, self.registry, self.log, self.number = folder / self.key, registry, log, 0
        self.archive = folder / f"{self.key}.tar.gz"
        self.storage = self.folder / "0"

    def start(self):
        """Makes the storage and starts what must run before a build."""
        self.storage.mkdir(parents=True, exist_ok=True)

    def stop(self):
        """Ends what `start` started."""

    def forget(self):
        """Goes on with empty storage. The old one is removed after the race: see `race.forget`."""
        self.stop()
        self.number += 1
        self.storage = self.folder / str(self.number)
        self.start()

    def learn(self, warm, base):
        """Makes the parent known, unpacked: what a machine has after its first build."""

    def job(self, context, base, target, cached, archive=True):
        """The measured job. `cached`: what earlier builds left may be used. Without `archive` it ends with the push."""
        raise NotImplementedError

    def clean(self):
        self.archive.unlink(missing_ok=True)


class Osbs(Contender):
    key, how = "osbs", "osbs image build, one command"

    def __init__(self, folder, registry, log):
        super().__init__(folder, registry, log)
        self.osbs = os.environ.get("OSBS", str(ROOT / "target/release/osbs"))
        self.command = os.environ.get("OSBS_COMMAND", COMMAND)
        self.version = output_of(self.osbs, "--version").split()[-1]

    def arguments(self, context, base, target, archive=True):
        fields = {"osbs": self.osbs, "context": context, "base": base, "target": target, "archive": self.archive}
        args = [part.format(**fields) for part in shlex.split(self.command)]
        if not archive:
            at = next(i for i, part in enumerate(args) if part.startswith("docker-archive:"))
            del args[at - 1 : at + 1]
        return args

    def learn(self, warm, base):
        self.job(warm, base, f"{self.registry}/warm:1", cached=False)
        self.clean()

    def job(self, context, base, target, cached, archive=True):
        job = Job()
        env = os.environ | {"OSBS_HOME": str(self.storage)}
        job.step("all", self.arguments(context, base, target, archive), self.log, env)
        return job


class Containers(Contender):
    """What buildah and podman share: the storage's options and the limits that RUN may have."""

    program = ""

    def __init__(self, folder, registry, log):
        super().__init__(folder, registry, log)
        self.version = output_of(self.program, "--version").split()[2]
        self.plain = folder / f"{self.key}.tar"
        self.knows = set()

    def start(self):
        super().start()
        self.limits = self.allowed_limits()

    def call(self, *args):
        root = ["--root", self.storage / "root", "--runroot", self.storage / "run", "--storage-driver", "overlay"]
        return [self.program, *map(str, root), *map(str, args)]

    def build(self, *args):
        return self.call(*self.verb, "--isolation", "chroot", *args)

    def allowed_limits(self):
        """These tools raise limits, which root without CAP_SYS_RESOURCE may not: takes the largest that work."""
        files = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        probe = self.folder / "probe"
        probe.mkdir(exist_ok=True)
        shutil.copy("/bin/busybox", probe / "busybox")
        (probe / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN true\n")
        for processes in (96_365, 32_768, 4_096):
            limits = ["--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}"]
            args = self.build(*limits, "-t", "probe", probe)
            if subprocess.run(args, stdout=self.log, stderr=self.log, check=False).returncode == 0:
                return limits
        raise Unavailable(f"{self.program} cannot run a RUN here: see {self.log.name}")

    def learn(self, warm, base):
        Job().step("pull", self.call("pull", "--tls-verify=false", base), self.log)
        self.knows.add((self.storage, base))

    def pulling(self, base):
        """Nothing is asked of the registry for a parent that is known."""
        return ["--tls-verify=false", "--pull=missing"] if (self.storage, base) not in self.knows else [self.no_pull]

    def clean(self):
        super().clean()
        self.plain.unlink(missing_ok=True)


class Buildah(Containers):
    key, program, verb, no_pull = "buildah", "buildah", ("bud",), "--pull-never"
    how = "buildah bud, push, push to docker-archive:, gzip"

    def job(self, context, base, target, cached, archive=True):
        job = Job()
        layers = ["--layers"] if cached else []
        options = [*self.limits, *layers, "--jobs", os.cpu_count(), *self.pulling(base), "--build-arg", f"BASE={base}"]
        job.step("build", self.build(*options, "-t", "bench", context), self.log)
        job.step("push", self.call("push", "--tls-verify=false", "bench", f"docker://{target}"), self.log)
        if archive:
            job.step("archive", self.call("push", "bench", f"docker-archive:{self.plain}:bench:1"), self.log)
            job.step("gzip", ["gzip", "-f", self.plain], self.log)
        return job


class Podman(Containers):
    key, program, verb, no_pull = "podman", "podman", ("build",), "--pull=never"
    how = "podman build with its layers, push, save | gzip"

    def job(self, context, base, target, cached, archive=True):
        job = Job()
        fresh = [] if cached else ["--no-cache"]
        options = [*self.limits, *fresh, "--jobs", os.cpu_count(), *self.pulling(base), "--build-arg", f"BASE={base}"]
        job.step("build", self.build(*options, "-t", "bench", context), self.log)
        job.step("push", self.call("push", "--tls-verify=false", "bench", f"docker://{target}"), self.log)
        if archive:
            save = shlex.join(self.call("save", "--format", "docker-archive", "bench"))
            job.step("archive", f"{save} | gzip > {shlex.quote(str(self.archive))}", self.log, shell=True)
        return job


class Daemon(Contender):
    """A tool whose work is done by a service: its memory counts, and its sockets need a short path."""

    def start(self):
        super().start()
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="bench", dir="/run"))
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(part) for part in self.service()], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while subprocess.run(self.ping(), env=self.env(), capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                lines = (self.folder / "log").read_text(errors="replace").splitlines()
                raise Unavailable(f"{self.key} does not start: {lines[-1] if lines else 'no word in its log'}"[:300])
            time.sleep(0.1)

    def stop(self):
        if getattr(self, "process", None) is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        shutil.rmtree(self.run, ignore_errors=True)

    def env(self):
        return dict(os.environ)

    def services(self):
        """The service and its children, which live as long as it does."""
        pids, found = [self.process.pid], []
        while pids:
            pid = pids.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return found

    def measured(self, steps):
        """Runs the steps; the peak is the largest of the clients' and of the services'."""
        for pid in self.services():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        job = Job()
        for name, args, shell in steps:
            job.step(name, args, self.log, self.env(), shell)
        for pid in self.services():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    job.peak_mb = max(job.peak_mb, int(line.split()[1]) / 1024)
        # The processor time of a service is not the clients'.
        job.cpu_s = 0.0
        return job


class Docker(Daemon):
    key, how = "docker", "docker build (BuildKit in dockerd), docker push, docker save | gzip"

    def __init__(self, folder, registry, log):
        super().__init__(folder, registry, log)
        if shutil.which("dockerd") is None:
            raise Unavailable("dockerd is not installed")
        self.version = output_of("dockerd", "--version").split()[2].rstrip(",")
        self.client = self.own_client()

    def own_client(self):
        """The client with BuildKit inside: that of the daemon's version, where the machine has several."""
        places = [pathlib.Path(place) / "docker" for place in os.environ["PATH"].split(":")]
        for client in [place for place in places if place.is_file()]:
            words = output_of(str(client), "--version").split()
            if words[2].rstrip(",") == self.version:
                return client
        raise Unavailable(f"no docker client of dockerd's version {self.version} on PATH")

    def service(self):
        quiet = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "overlay2"]
        places = ["--data-root", self.storage, "--exec-root", self.run / "exec", "--pidfile", self.run / "pid"]
        return ["dockerd", *quiet, *places, "-H", f"unix://{self.run}/sock"]

    def env(self):
        more = {"DOCKER_HOST": f"unix://{self.run}/sock", "DOCKER_CONFIG": str(self.run), "DOCKER_BUILDKIT": "1"}
        return os.environ | more

    def ping(self):
        return [self.client, "version"]

    def learn(self, warm, base):
        job = Job()
        job.step("pull", [self.client, "pull", "-q", base], self.log, self.env())
        build = [self.client, "build", "--network=host", "--build-arg", f"BASE={base}", "-t", "warm", warm]
        job.step("build", build, self.log, self.env())

    def job(self, context, base, target, cached, archive=True):
        fresh = [] if cached else ["--no-cache"]
        build = ["build", "--network=host", *fresh, "--build-arg", f"BASE={base}", "-t", target, context]
        save = f"{self.client} save {target} | gzip > {shlex.quote(str(self.archive))}"
        steps = [("build", [self.client, *build], False), ("push", [self.client, "push", "-q", target], False)]
        return self.measured([*steps, ("archive", save, True)] if archive else steps)


class BuildKit(Daemon):
    key, how = "buildkit", "buildctl build with push, then with type=docker (its layers are gzip already)"

    def __init__(self, folder, registry, log):
        super().__init__(folder, registry, log)
        for program in ["buildkitd", "buildctl"]:
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is not installed: not in Debian, put BuildKit's release on PATH")
        self.version = output_of("buildkitd", "--version").split()[2].lstrip("v")

    def service(self):
        config = self.run / "buildkitd.toml"
        config.write_text(f'[registry."{self.registry}"]\n  http = true\n')
        worker = ["--oci-worker-net=host", "--oci-worker-gc=false", "--containerd-worker=false"]
        places = ["--config", config, "--root", self.storage, "--addr", f"unix://{self.run}/sock"]
        return ["buildkitd", *places, *worker]

    def ping(self):
        return ["buildctl", "--addr", f"unix://{self.run}/sock", "debug", "workers"]

    def build(self, context, base, output, *more):
        local = ["--local", f"context={context}", "--local", f"dockerfile={context}"]
        call = ["buildctl", "--addr", f"unix://{self.run}/sock", "build", "--progress=plain"]
        return [*call, "--frontend", "dockerfile.v0", *local, "--opt", f"build-arg:BASE={base}", "--output", output, *more]

    def learn(self, warm, base):
        output = f"type=docker,name=warm,dest={self.archive}"
        Job().step("build", self.build(warm, base, output), self.log, self.env())
        self.clean()

    def job(self, context, base, target, cached, archive=True):
        fresh = [] if cached else ["--no-cache"]
        push = self.build(context, base, f"type=image,name={target},push=true", *fresh)
        # The second call finds everything in the cache and only writes.
        save = self.build(context, base, f"type=docker,name={target},dest={self.archive}")
        steps = [("build and push", push, False)]
        return self.measured([*steps, ("archive", save, False)] if archive else steps)


PEERS = [Buildah, Podman, Docker, BuildKit]
