#!/usr/bin/env bash
# Every test: formatting, layout, dependencies, lints, unit tests and the real ones, and a short run of the fuzz targets.
# `make test` and CI run this.
# usage: scripts/test.sh CACHE
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${1:?usage: scripts/test.sh CACHE}

step() {
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  "$@"
  printf '== %s: %d s\n' "$name" $((SECONDS - start))
}

step format cargo fmt --all --check
step layout cargo xtask tidy
step dependencies scripts/supply-chain.sh "$cache"
step lints cargo clippy --workspace --all-targets --quiet -- -D warnings
# Programs that real tests start, from PyPI and from Debian's source, once a cache.
mkdir -p "$cache"
OSBS_TEST_CACHE=$(cd "$cache" && pwd)
export OSBS_TEST_CACHE
[ -n "${OSBS_TEST_SKIP_REAL:-}" ] || step pulp scripts/pulp.sh install "$cache"
[ -n "${OSBS_TEST_SKIP_REAL:-}" ] || step kubernetes scripts/kubernetes.sh install "$cache"
# A test that hangs must end as a failure, with what the others said: each program of tests has its time, and all have.
runner="target.'cfg(all())'.runner=[\"$PWD/scripts/run-test-program.sh\", \"15m\"]"
step tests timeout --foreground --kill-after=10 60m cargo --config "$runner" test --workspace --no-fail-fast
# Not for finding much, but so that every target goes on to build, run and hold its corpus under the engine.
step fuzz scripts/fuzz.sh "$cache" "${FUZZ_SECONDS:-10}"
