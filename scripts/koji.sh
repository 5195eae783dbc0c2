#!/usr/bin/env bash
# The official Koji command line, `rpkg` (what fedpkg is made of), and what checks our plugins for Koji, out of PyPI.
#
# usage: scripts/koji.sh install CACHE        once a CACHE (half a minute)
#        scripts/koji.sh bin CACHE            the same, and prints the folder with `koji` and `python`
#        scripts/koji.sh test CACHE           checks and tests integrations/koji; OSBS names the program
#
# Modules that are slow to build come from Debian: python3-gssapi, python3-rpm.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n 's/^# \(usage: .*\)/\1/p; s/^#        \(scripts.*\)/       \1/p' "$here/koji.sh" >&2; exit 2; }

action=${1:-}
cache=${2:-}
case $action in install | bin | test) [ -n "$cache" ] || usage ;; *) usage ;; esac

# To be counted up when what `install` makes changes otherwise than by the list.
made=1
# Debian's own interpreter: its modules are for no other.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3)
mkdir -p "$cache"
key=$(cat "$here/koji-requirements.txt" <(echo $made) <("$python" --version) | sha256sum | cut -c1-16)
home=$(cd "$cache" && pwd)/koji/$key
bin=$home/venv/bin

stop_with() {
  printf 'koji: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '      %s\n' "$line" >&2; done
  exit 1
}

install() {
  [ -e "$home/complete" ] && return
  mkdir -p "$home"
  exec 8>"$home/lock"
  flock 8
  [ -e "$home/complete" ] && return
  local begun=$SECONDS
  echo 'koji: installing its command line, once on this machine' >&2
  rm -rf "$home/venv"
  "$python" -m venv --system-site-packages "$home/venv"
  "$bin/pip" install --quiet --no-input --disable-pip-version-check -r "$here/koji-requirements.txt" >"$home/pip.log" 2>&1 || {
    tail -n 10 "$home/pip.log" >&2
    stop_with 'its packages cannot be installed; the last words of pip are above' \
      'building them needs: apt-get install --no-install-recommends gcc python3-dev libkrb5-dev python3-gssapi python3-rpm'
  }
  touch "$home/complete"
  exec 8>&-
  printf 'koji: installed in %d s\n' $((SECONDS - begun)) >&2
}

test_plugins() {
  OSBS=$(realpath "${OSBS:-$here/../target/debug/osbs}") || stop_with 'there is no osbs to test' 'run: cargo build --package osbs'
  export OSBS
  cd "$here/../integrations/koji"
  # Nothing is left in the source tree.
  export PYTHONDONTWRITEBYTECODE=1
  "$bin/ruff" format --no-cache --diff --quiet .
  "$bin/ruff" check --no-cache --quiet .
  "$bin/mypy" --cache-dir "$home/mypy" cli hub tests
  "$bin/pytest" -n 2
}

install
case $action in
  bin) printf '%s\n' "$bin" ;;
  test) test_plugins ;;
esac
