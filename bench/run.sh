#!/bin/bash
# Races the worker's job against existing tools, and measures the machine beside it.
# usage: bench/run.sh [CACHE_DIR] [--smoke] [other options of race.py: --help]
#
# --smoke       every row at tiny size with every tool once: does all of it work?
# --self-test   only the tests of the race's own arithmetic
#
# Needed: skopeo, docker-registry, runc, busybox-static, python3 (scripts/setup.sh test brings them), 20 GB of disk below
# CACHE_DIR while it runs, and 25 minutes in which the machine does nothing else.
# Peers, each left out with its reason in results.json when it is missing:
#   buildah    apt-get install buildah
#   podman     apt-get install podman
#   docker     apt-get install docker.io   (dockerd with BuildKit inside: one of our own is started, and ended)
#   buildkit   buildkitd and buildctl of a BuildKit release on PATH; Debian has no package of it
#
# perf (apt-get install linux-perf) is used where it is there: for the profile of a row that misses a target.
#
# OSBS          the binary (default: target/release/osbs)
# OSBS_COMMAND  how it is called; {osbs} {context} {base} {target} {archive} are filled in
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
(cd "$here" && python3 -m unittest -q test_figures)
[ "${1:-}" != --self-test ] || exit 0
cache=$here/../.cache
if [ $# -gt 0 ] && [[ $1 != --* ]]; then
    cache=$1
    shift
fi
for need in skopeo:skopeo docker-registry:docker-registry gzip:gzip runc:runc busybox:busybox-static; do
    command -v "${need%%:*}" >/dev/null || { echo "${need%%:*} is missing: apt-get install ${need##*:}" >&2; exit 5; }
done
[ "$(id -u)" = 0 ] || { echo "the race mounts overlayfs and runs containers: run it as root" >&2; exit 5; }
mkdir -p "$cache/bench"
exec python3 "$here/race.py" --cache "$cache/bench" "$@"
