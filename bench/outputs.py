"""Looks whether a tool did the work: the image is in the registry, the archive can be read, both hold the same layers, and
the files below /srv are those that the instructions make."""

import gzip
import hashlib
import io
import json
import tarfile

# All that the workloads' instructions make is below it.
PLACE = "srv/"


class Wrong(Exception):
    """What is not right with a tool's output."""


class _Hashed(io.RawIOBase):
    """Hashes and counts what is read through it."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.hash, self.size = inner, hashlib.sha256(), 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        self.hash.update(data)
        self.size += len(data)
        return len(data)


class Layer:
    """Diff id, size as a tar, and what it says of the files below /srv: sizes of those it brings, names it takes away."""

    def __init__(self, file):
        head = file.peek(2)[:2]
        plain = _Hashed(gzip.GzipFile(fileobj=file) if head == b"\x1f\x8b" else file)
        self.files, self.removed = {}, []
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 20) as tar:
            for entry in tar:
                self._note(entry)
                # The list of all entries is of no use here and large.
                tar.members = []
        while plain.read(1 << 20):
            pass
        self.diff_id, self.size = f"sha256:{plain.hash.hexdigest()}", plain.size

    def _note(self, entry):
        name = entry.name.removeprefix("./").lstrip("/")
        if not name.startswith(PLACE):
            return
        folder, _, last = name.rpartition("/")
        if last == ".wh..wh..opq":
            self.removed.append(folder + "/")
        elif last.startswith(".wh."):
            self.removed.append(f"{folder}/{last[4:]}")
        elif entry.isreg():
            self.files[name] = entry.size
        elif entry.islnk():
            self.files[name] = self.files.get(entry.linkname.removeprefix("./").lstrip("/"), 0)


def read_archive(path):
    """The config and the layers, bottom to top, of a docker archive, compressed or not, read in one pass."""
    small, layers, links = {}, {}, {}
    with tarfile.open(path, mode="r|*", bufsize=1 << 20) as archive:
        for entry in archive:
            if entry.islnk() or entry.issym():
                links[entry.name] = entry.linkname
            if not entry.isreg():
                continue
            file = io.BufferedReader(archive.extractfile(entry), 1 << 20)
            if file.peek(1)[:1] in (b"{", b"["):
                small[entry.name] = file.read()
            elif entry.size >= 20 and (entry.name.endswith((".tar", ".gz")) or entry.name.startswith("blobs/")):
                layers[entry.name] = Layer(file)
    manifest = json.loads(small["manifest.json"])[0]

    def layer(name):
        while name not in layers and name in links:
            name = str(links[name]).removeprefix("../")
        return layers[name]

    return json.loads(small[manifest["Config"]]), [layer(name) for name in manifest["Layers"]]


def tree_of(layers):
    """Sizes by name of the files below /srv after all layers."""
    tree = {}
    for layer in layers:
        gone = set(layer.removed)
        folders = tuple(name if name.endswith("/") else name + "/" for name in gone)
        if gone:
            tree = {name: size for name, size in tree.items() if name not in gone and not name.startswith(folders)}
        tree.update(layer.files)
    return tree


def check(registry, repository, tag, archive, parent_layers, expected):
    """Sizes of the right output; `expected` is number and bytes of the files below /srv.

    # Raises
    `Wrong` where something is missing or different.
    """
    try:
        manifest, in_registry = registry.image(repository, tag)
        in_archive, layers = read_archive(archive)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, tarfile.TarError) as error:
        raise Wrong(f"cannot be read: {error!r}") from error
    found = [layer.diff_id for layer in layers]
    for place, config in [("registry", in_registry), ("archive", in_archive)]:
        if config["rootfs"]["diff_ids"] != found:
            raise Wrong(f"the config in the {place} names other layers than the archive holds")
    tree = tree_of(layers)
    have = (len(tree), sum(tree.values()))
    if have != expected:
        raise Wrong(f"{have[0]} files of {have[1]} bytes below /srv instead of {expected[0]} of {expected[1]}")
    return {
        "new_layers": len(layers) - parent_layers,
        "layer_bytes": sum(layer.size for layer in layers[parent_layers:]),
        "packed_bytes": sum(layer["size"] for layer in manifest["layers"][parent_layers:]),
        "archive_bytes": archive.stat().st_size,
    }
