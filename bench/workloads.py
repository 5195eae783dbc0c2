"""Makes the workloads, always the same on one machine: contexts and parent images.

The content comes from the files of /usr/lib, so that it compresses as real content does.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

MEGA = 1_000_000
# What changes when the generator does: an older folder is made anew.
VERSION = "3"
PROGRAMS = ["sh", "cp", "cat", "rm", "echo", "ls", "mv", "ln", "chmod", "mkdir", "gzip", "sha256sum", "true"]


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is built: the data in the context, the parent, and the instructions of each stage below its FROM.

    Several stages: all but the last stand on the parent and need nothing of each other.
    """

    files: int
    bytes: int
    stages: tuple
    parent_mb: int = 0
    parent_layers: int = 1
    least_files: int = 1

    def tiny(self):
        """The same at about a hundredth of its size, for a quick look whether everything works."""
        stages = tuple((name, tuple(line.replace("1 2 3 4", "1") for line in lines)) for name, lines in self.stages)
        return dataclasses.replace(
            self,
            files=max(self.least_files, self.files // 100),
            bytes=max(100_000, self.bytes // 100),
            parent_mb=min(self.parent_mb, 2),
            stages=stages,
        )

    def dockerfile(self):
        text = ["ARG BASE"]
        for name, lines in self.stages:
            text += ["FROM ${BASE}" + (f" AS {name}" if name else ""), *lines]
        return "\n".join(text) + "\n"

    def runs_in_a_row(self):
        """RUN instructions that must follow each other: of the longest of the side-by-side stages, and of the last."""
        counts = [sum(line.startswith("RUN ") for line in lines) for _, lines in self.stages]
        return max(counts[:-1], default=0) + counts[-1]


def forty_instructions():
    """With ARG and FROM before them, forty: eight times the four that real Dockerfiles repeat, and the config."""
    lines = []
    for step in range(8):
        lines += [
            f"ENV STEP_{step}=/srv/step{step}",
            f"COPY data/d{step:03} /srv/step{step}",
            f"WORKDIR /srv/step{step}",
            f"RUN cat f* | sha256sum > /srv/sum{step} && rm f00",
        ]
    return (*lines, "LABEL name=forty", "LABEL version=1", "ARG RELEASE=1", "EXPOSE 8080", "USER 1000", 'CMD ["/bin/sh"]')


def three_stages():
    """Each with some seconds of one core's work, and no two with the same text: none can be taken for another."""
    stages = []
    for name in ["one", "two", "three"]:
        work = f"for n in 1 2 3 4; do cat data/*/* | gzip | sha256sum; done > /srv/{name}"
        stages.append((name, ("COPY data /srv/data", f"RUN cd /srv && {work}")))
    last = [f"COPY --from={name} /srv/{name} /srv/{name}" for name, _ in stages]
    return (*stages, ("", (*last, "RUN cat /srv/one /srv/two /srv/three > /srv/all")))


WORKLOADS = {
    "small": Workload(
        files=1,
        bytes=1 * MEGA,
        parent_mb=200,
        stages=(
            (
                "",
                (
                    "COPY data /srv/data",
                    "RUN echo one > /srv/one",
                    "RUN cat /srv/one > /srv/two && rm /srv/one",
                ),
            ),
        ),
    ),
    "instructions": Workload(files=800, least_files=800, bytes=16 * MEGA, stages=(("", forty_instructions()),)),
    "stages": Workload(files=100, bytes=12 * MEGA, stages=three_stages()),
    "layers": Workload(
        files=100,
        bytes=10 * MEGA,
        parent_mb=60,
        parent_layers=60,
        stages=(("", ("COPY data /srv/data", "RUN cat /srv/data/*/* | sha256sum > /srv/sum")),),
    ),
    "files": Workload(files=50_000, bytes=198 * MEGA, stages=(("", ("COPY data /srv/data",)),)),
    "large": Workload(
        files=2400,
        bytes=676 * MEGA,
        stages=(("", ("COPY data /srv/data", "RUN cp -a /srv/data /srv/again")),),
    ),
}


class Corpus:
    """An endless stream over the files of /usr/lib, in sorted order."""

    def __init__(self):
        self.paths = []
        for folder, folders, files in os.walk("/usr/lib"):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > 4096:
                    self.paths.append(path)
        self.next = 0
        self.file = None

    def read(self, size):
        parts = []
        while size > 0:
            if self.file is None:
                self.file = open(self.paths[self.next % len(self.paths)], "rb")
                self.next += 1
            part = self.file.read(size)
            if not part:
                self.file.close()
                self.file = None
                continue
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def sizes(count, total):
    """Uneven but fixed sizes: a quarter of the files holds most of the bytes, as in real trees."""
    weights = [1 + (index * 7919 % 13) ** 2 for index in range(count)]
    scale = total / sum(weights)
    return [max(1, int(weight * scale)) for weight in weights]


def make_context(folder, workload):
    data = folder / "context" / "data"
    corpus = Corpus()
    for index, size in enumerate(sizes(workload.files, workload.bytes)):
        place = data / f"d{index // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{index % 100:02}").write_bytes(corpus.read(size))
    (folder / "context" / "Dockerfile").write_text(workload.dockerfile())
    warm = folder / "warm"
    warm.mkdir()
    (warm / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN true\n")


def add(tar, name, content=None, link=None, mode=0o755):
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = 1_600_000_000, mode
    if link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, link
        tar.addfile(info)
    elif content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def add_system(tar):
    for name in ["bin", "etc", "tmp", "root", "usr", "usr/lib"]:
        add(tar, name)
    # A workload's user may write here, too.
    add(tar, "srv", mode=0o777)
    add(tar, "bin/busybox", pathlib.Path("/bin/busybox").read_bytes())
    for name in PROGRAMS:
        add(tar, f"bin/{name}", link="busybox")
    add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644)
    add(tar, "etc/group", b"root:x:0:\n", mode=0o644)


class Layout:
    """An OCI layout that is being written."""

    def __init__(self, folder):
        self.folder, self.blobs = folder, folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)

    def put_bytes(self, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def put_layer(self, fill):
        """The descriptor and the diff id of a layer that `fill` writes into a tar."""
        plain, packed = self.folder / "layer.tar", self.folder / "layer.tar.gz"
        with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
            fill(tar)
        diff_id = digest_of(plain)
        with open(plain, "rb") as source, open(packed, "wb") as target:
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as zipped:
                shutil.copyfileobj(source, zipped, 1 << 20)
        plain.unlink()
        digest, size = digest_of(packed), packed.stat().st_size
        packed.rename(self.blobs / digest)
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}, f"sha256:{diff_id}"


def make_parent(folder, workload):
    """An OCI layout with one image `base`: busybox, and as much of /usr/lib as the workload wants, in so many layers."""
    layout = Layout(folder / "parent")
    corpus = Corpus()
    parts = max(1, workload.parent_mb // workload.parent_layers)

    def fill(number):
        def write(tar):
            if number == 0:
                add_system(tar)
            for index in range(parts if workload.parent_mb else 0):
                size = min(MEGA, workload.parent_mb * MEGA // workload.parent_layers)
                add(tar, f"usr/lib/part{number}-{index}", corpus.read(size), mode=0o644)
            # Every layer changes what all have, as updates do.
            add(tar, "etc/changed", f"{number}\n".encode(), mode=0o644)

        return write

    layers, diff_ids = zip(*[layout.put_layer(fill(number)) for number in range(workload.parent_layers)])
    kind = "application/vnd.oci.image."
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"base {number}"} for number in range(len(layers))],
    }
    config = {"mediaType": kind + "config.v1+json"} | layout.put_bytes(json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": config, "layers": layers}
    name = {"annotations": {"org.opencontainers.image.ref.name": "base"}}
    entry = {"mediaType": kind + "manifest.v1+json"} | layout.put_bytes(json.dumps(manifest).encode()) | name
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(cache, name, tiny=False):
    """The workload and its folder, with `context/`, `warm/` and the OCI layout `parent/`; made once."""
    workload = WORKLOADS[name].tiny() if tiny else WORKLOADS[name]
    folder = cache / f"{name}{'-tiny' if tiny else ''}-{VERSION}"
    key = repr(workload)
    complete = folder / "complete"
    if not complete.exists() or complete.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_context(folder, workload)
        make_parent(folder, workload)
        complete.write_text(key)
        subprocess.run(["sync"], check=True)
    return workload, folder
