#!/bin/bash
# Shows where the processor time of a row goes: bench/profile.sh CACHE_DIR ROW [--symbols N] [--write]
#
# perf (apt-get install linux-perf) watches osbs, what it starts, and the registry; without it osbs's own phases are shown.
# A second or two of every ten that it shows are perf's own. --write puts the table into results.json.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "builds mount overlayfs and run containers: run it as root" >&2; exit 5; }
mkdir -p "$1/bench"
export PYTHONDONTWRITEBYTECODE=1
cache=$1
shift
exec python3 "$here/profile_row.py" --cache "$cache/bench" "$@"
