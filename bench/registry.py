"""A docker-registry on loopback whose storage is a copy of a template, and the few requests that the race makes itself."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

MANIFESTS = ", ".join(
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)


class Registry:
    """Answers when the constructor returns."""

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
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise SystemExit(f"docker-registry does not answer: see {folder}/log")
            time.sleep(0.02)

    def answers(self):
        try:
            return self.request("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def remove_repository(self, name):
        shutil.rmtree(self.data / "docker/registry/v2/repositories" / name, ignore_errors=True)

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def put_blob(self, repository, path, digest):
        """Uploads a file in one PUT, as the plainest client would."""
        _, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        location = headers["Location"].split(f":{self.port}", 1)[-1]
        with open(path, "rb") as blob:
            size = {"Content-Length": str(os.path.getsize(path)), "Content-Type": "application/octet-stream"}
            status, _, text = self.request("PUT", f"{location}&digest=sha256:{digest}", blob, size)
        if status != 201:
            raise RuntimeError(f"PUT of a blob: {status} {text[:200]!r}")

    def image(self, repository, tag):
        """Manifest and config of an image, after a look whether every blob is there in full."""
        status, _, text = self.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFESTS})
        if status != 200:
            raise RuntimeError(f"{repository}:{tag} is not in the registry: {status}")
        manifest = json.loads(text)
        for blob in [manifest["config"], *manifest["layers"]]:
            status, headers, _ = self.request("HEAD", f"/v2/{repository}/blobs/{blob['digest']}")
            if status != 200 or int(headers["Content-Length"]) != blob["size"]:
                raise RuntimeError(f"{repository}:{tag}: blob {blob['digest']} is not in the registry in full")
        return manifest, json.loads(self.request("GET", f"/v2/{repository}/blobs/{manifest['config']['digest']}")[2])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def blob_path(layout, digest):
    """Where an OCI layout keeps a blob."""
    return pathlib.Path(layout) / "blobs" / digest.replace(":", "/")
