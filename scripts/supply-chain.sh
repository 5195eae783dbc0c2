#!/usr/bin/env bash
# Licences, bans and sources of all dependencies by cargo-deny and deny.toml. The tool is built once into CACHE/tools.
# usage: scripts/supply-chain.sh CACHE [CHECK...]        (default: licenses bans sources)
# `advisories` asks a database on the network, so it is no part of the tests: make advisories
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
cache=${1:?usage: scripts/supply-chain.sh CACHE [CHECK...]}
shift
[ $# -gt 0 ] || set -- licenses bans sources
mkdir -p "$cache/tools"
cache=$(cd "$cache" && pwd)
deny=$cache/tools/cargo-deny-$version/bin/cargo-deny
if [ ! -x "$deny" ]; then
  # Without optimisation it is built in a fifth of the time, and a check takes three seconds all the same.
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --version "$version" --no-track \
    --root "$cache/tools/cargo-deny-$version" --target-dir "$cache/tools/target" cargo-deny
  rm -rf "$cache/tools/target"
fi
"$deny" --all-features --locked check --hide-inclusion-graph "$@"
