#!/usr/bin/env bash
# The programs and images that `scripts/kubernetes.sh` starts, made once a cache: Kubernetes built from the source package
# of Debian, a pause image and a busybox image. Prints the folder that holds them.
# usage: scripts/kubernetes-install.sh CACHE
set -euo pipefail

cache=${1:?usage: scripts/kubernetes-install.sh CACHE}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

stop_with() {
  printf 'kubernetes: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '            %s\n' "$line" >&2; done
  exit 1
}

# Keyed by what is built and by how. The version is that of Debian's binary packages of the same source.
command -v go >/dev/null || stop_with 'Go is missing' 'run: scripts/setup.sh test'
candidate() { LC_ALL=C apt-cache policy kubernetes-client 2>/dev/null | sed -n 's/^  Candidate: \([0-9].*\)/\1/p'; }
version=$(candidate)
[ -n "$version" ] || version=$(cat "$cache/kubernetes/last-version" 2>/dev/null || true)
if [ -z "$version" ]; then
  # A machine whose package lists were thrown away.
  [ "$(id -u)" != 0 ] || apt-get -qq update || true
  version=$(candidate)
fi
[ -n "$version" ] || stop_with 'Debian knows no package of Kubernetes here' 'run: apt-get update'
release=${version##*really}
release=${release%%[-+]*}
key=$(cat "$here/kubernetes-install.sh" <(go version) | sha256sum | cut -c1-16)
home=$cache/kubernetes/kubernetes-$release-$key
if [ -e "$home/complete" ]; then
  echo "$home"
  exit 0
fi
mkdir -p "$cache/kubernetes"
exec 8>"$cache/kubernetes/lock"
flock 8
if [ -e "$home/complete" ]; then
  echo "$home"
  exit 0
fi
begun=$SECONDS
echo "kubernetes: building $release, once a cache (some minutes)" >&2
work=$cache/kubernetes/work
# Go's own folders are written without the permission to delete them.
discard_work() { [ ! -e "$work" ] || { chmod -R u+w "$work" && rm -rf "$work"; }; }
discard_work
trap discard_work EXIT
mkdir -p "$work"/{lists/partial,archives/partial,parts,out,tmp}

# The machine's own entries for Debian, as entries for source packages; apt's folders of the machine stay as they are.
python3 - "$work/parts" <<'P'
import glob, re, subprocess, sys
listed = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
                        capture_output=True, text=True, check=True).stdout
debian = {line.split()[1].rstrip("/") for line in listed.splitlines() if line.startswith("Debian ")}
stanzas, lines = [], []
for path in glob.glob("/etc/apt/sources.list.d/*.sources"):
    for stanza in re.split(r"\n\s*\n", open(path).read()):
        uris = re.search(r"(?mi)^URIs:(.*(?:\n[ \t].*)*)", stanza)
        if uris and debian & {one.rstrip("/") for one in uris[1].split()}:
            stanzas.append(re.sub(r"(?mi)^Types:.*", "Types: deb-src", stanza.strip()))
for path in glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*.list"):
    for line in open(path):
        entry = re.match(r"\s*deb\s+((?:\[[^]]*\]\s+)?(\S+)\s.*)", line)
        if entry and entry[2].rstrip("/") in debian:
            lines.append("deb-src " + entry[1])
if stanzas:
    open(sys.argv[1] + "/debian.sources", "w").write("\n\n".join(stanzas) + "\n")
if lines:
    open(sys.argv[1] + "/debian.list", "w").write("\n".join(lines) + "\n")
P
apt=(-q -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work" -o "Dir::Cache::archives=$work/archives" -o "APT::Sandbox::User=root")
(cd "$work" && apt-get "${apt[@]}" update && apt-get "${apt[@]}" source --download-only kubernetes) >"$work/apt.log" 2>&1 || {
  tail -n 10 "$work/apt.log" >&2
  stop_with 'its source package cannot be fetched; the last words of apt-get are above'
}
source=$work/go/src/k8s.io/kubernetes
mkdir -p "$source"
tar -xzf "$work"/kubernetes_*.orig.tar.gz --strip-components=1 -C "$source"
# Maps in JSON corrupt the memory of a program built with Go 1.18 or newer, unless this library is as new.
for library in modern-go/reflect2 json-iterator/go; do
  rm -rf "$source/vendor/github.com/$library"
  cp -rL "/usr/share/gocode/src/github.com/$library" "$source/vendor/github.com/$library"
done

export GOPATH=$work/go GO111MODULE=off CGO_ENABLED=0 GOCACHE=$work/compiled GOTMPDIR=$work/tmp HOME=$work GOFLAGS= GOENV=off
cd "$source"
build() {
  # Every program in one go, because they share nearly all of their packages.
  go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  # Left out of the archive, because it is generated: kube-apiserver does not compile without it.
  local folder inputs=() published=(api apimachinery apiserver apiextensions-apiserver client-go kube-aggregator metrics)
  while read -r folder; do
    inputs+=(-i "k8s.io/kubernetes/vendor/$folder")
  done < <(cd staging/src && grep -rl --include='*.go' '+k8s:openapi-gen=true' "${published[@]/#/k8s.io/}" | xargs -n 1 dirname | sort -u)
  while read -r folder; do
    inputs+=(-i "k8s.io/kubernetes/$folder")
  done < <(grep -rl --include='*.go' '+k8s:openapi-gen=true' pkg/apis/abac | xargs -n 1 dirname | sort -u)
  "$work/openapi-gen" -O zz_generated.openapi -p k8s.io/kubernetes/pkg/generated/openapi --output-base "$GOPATH/src" \
    -h /dev/null -r "$work/violations" "${inputs[@]}"
  local in major minor flags='-s -w'
  IFS=. read -r major minor _ <<<"$release"
  for in in client-go/pkg component-base; do
    in=k8s.io/kubernetes/vendor/k8s.io/$in/version
    flags+=" -X $in.gitVersion=v$release -X $in.gitMajor=$major -X $in.gitMinor=$minor"
  done
  # Without what talks to clouds and to Docker, which is half of it.
  go build -o "$work/out/" -tags 'providerless dockerless' -ldflags "$flags" \
    ./cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl}
}
# A function called before `||` goes on after what fails in it, so it gets a shell of its own.
export -f build
export work release
bash -euo pipefail -c build >"$work/build.log" 2>&1 || {
  tail -n 20 "$work/build.log" >&2
  stop_with 'it cannot be built; the last words of the compiler are above'
}

# Two images in docker's archive format with one layer: busybox under all its names.
python3 - "$work/out" <<'P'
import hashlib, io, json, os, subprocess, sys, tarfile
out = sys.argv[1]
program = "/bin/busybox"
applets = subprocess.run([program, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()

def member(tar, name, mode, content=None, link=None):
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if link:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
    elif content is None:
        entry.type = tarfile.DIRTYPE
    else:
        entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content) if content is not None else None)

layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
    for folder in ["bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "root", "home", "var", "dev", "proc", "sys", "run"]:
        member(tar, folder, 0o755)
    member(tar, "tmp", 0o1777)
    member(tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    member(tar, "etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")
    member(tar, "bin/busybox", 0o755, open(program, "rb").read())
    for applet in applets:
        if applet != "bin/busybox":
            member(tar, applet, 0o777, link="/bin/busybox")
layer = layer.getvalue()

def image(file, name, command):
    config = json.dumps({
        "architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    with tarfile.open(os.path.join(out, file), "w", format=tarfile.PAX_FORMAT) as tar:
        member(tar, "layer.tar", 0o644, layer)
        member(tar, config_name, 0o644, config)
        manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
        member(tar, "manifest.json", 0o644, json.dumps(manifest).encode())

image("pause.tar", "localhost/osbs-test/pause:1", ["/bin/sleep", "2147483647"])
image("busybox.tar", "localhost/osbs-test/busybox:1", ["/bin/sh"])
P

printf 'v%s\n' "$release" >"$work/out/version"
touch "$work/out/complete"
rm -rf "$home"
mv "$work/out" "$home"
# Of an older version or made in an older way, and hardly in use any more.
find "$cache/kubernetes" -maxdepth 1 -name 'kubernetes-*' ! -path "$home" -mtime +7 -exec rm -rf {} +
echo "$version" >"$cache/kubernetes/last-version"
printf 'kubernetes: built in %d s\n' $((SECONDS - begun)) >&2
echo "$home"
