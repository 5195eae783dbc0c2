"""Makes the three workloads, always the same on one machine: contexts and parent images.

The content comes from the files of /usr/lib, so that it compresses as real content does.
"""

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
VERSION = "1"

WORKLOADS = {
    "small": {
        "parent_mb": 200,
        "files": 1,
        "bytes": 1 * MEGA,
        "dockerfile": "COPY data /srv/data\nRUN echo one > /srv/one\nRUN cat /srv/one > /srv/two && rm /srv/one\n",
    },
    "large": {
        "parent_mb": 0,
        "files": 2400,
        "bytes": 676 * MEGA,
        "dockerfile": "COPY data /srv/data\nRUN cp -a /srv/data /srv/again\n",
    },
    "files": {"parent_mb": 0, "files": 50_000, "bytes": 198 * MEGA, "dockerfile": "COPY data /srv/data\n"},
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
    for index, size in enumerate(sizes(workload["files"], workload["bytes"])):
        place = data / f"d{index // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{index % 100:02}").write_bytes(corpus.read(size))
    (folder / "context" / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n" + workload["dockerfile"])


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


def make_parent(folder, workload):
    """An OCI layout with one image `base` of one layer: busybox, and as much of /usr/lib as the workload wants."""
    layout = folder / "parent"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    plain = folder / "layer.tar"
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ["bin", "etc", "srv", "tmp", "root", "usr", "usr/lib"]:
            add(tar, name)
        add(tar, "bin/busybox", pathlib.Path("/bin/busybox").read_bytes())
        for name in ["sh", "cp", "cat", "rm", "echo", "ls"]:
            add(tar, f"bin/{name}", link="busybox")
        add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644)
        add(tar, "etc/group", b"root:x:0:\n", mode=0o644)
        corpus = Corpus()
        for index in range(workload["parent_mb"]):
            add(tar, f"usr/lib/part{index}", corpus.read(MEGA), mode=0o644)
    diff_id = digest_of(plain)
    packed = folder / "layer.tar.gz"
    with open(plain, "rb") as source, open(packed, "wb") as target:
        with gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as zipped:
            shutil.copyfileobj(source, zipped, 1 << 20)
    plain.unlink()

    def put(path=None, content=None):
        digest = digest_of(path) if path else hashlib.sha256(content).hexdigest()
        size = path.stat().st_size if path else len(content)
        if path:
            path.rename(blobs / digest)
        else:
            (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": size}

    kind = "application/vnd.oci.image."
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created_by": "base"}],
    }
    layer = {"mediaType": kind + "layer.v1.tar+gzip"} | put(path=packed)
    config = {"mediaType": kind + "config.v1+json"} | put(content=json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": config, "layers": [layer]}
    name = {"annotations": {"org.opencontainers.image.ref.name": "base"}}
    entry = {"mediaType": kind + "manifest.v1+json"} | put(content=json.dumps(manifest).encode()) | name
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(cache, name):
    """The folder of a workload, with `context/` and the OCI layout `parent/`; made once."""
    folder = cache / f"{name}-{VERSION}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_context(folder, WORKLOADS[name])
        make_parent(folder, WORKLOADS[name])
        (folder / "complete").touch()
        subprocess.run(["sync"], check=True)
    return folder
