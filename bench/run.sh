#!/bin/bash
# Races the worker's job against the pipeline of existing tools: bench/run.sh [CACHE_DIR] [options of race.py]
#
# OSBS          the binary (default: target/release/osbs)
# OSBS_COMMAND  how it is called; {osbs} {context} {base} {target} {archive} are filled in
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-$here/../.cache}
shift || true
for need in buildah:buildah skopeo:skopeo docker-registry:docker-registry gzip:gzip python3:python3 runc:runc; do
    command -v "${need%%:*}" >/dev/null || { echo "${need%%:*} is missing: apt-get install ${need##*:}" >&2; exit 5; }
done
[ "$(id -u)" = 0 ] || { echo "the race mounts overlayfs and runs containers: run it as root" >&2; exit 5; }
mkdir -p "$cache/bench"
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/race.py" --cache "$cache/bench" --results "$here/results.json" "$@"
