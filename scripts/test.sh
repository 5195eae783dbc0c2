#!/usr/bin/env bash
# Every test: formatting, layout, lints, unit tests and the real ones. `make test` and CI run this.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  "$@"
  printf '== %s: %d s\n' "$name" $((SECONDS - start))
}

step format cargo fmt --all --check
step layout cargo xtask tidy
step lints cargo clippy --workspace --all-targets --quiet -- -D warnings
# A test that hangs must end as a failure, with what the others said.
step tests timeout --foreground --kill-after=10 45m cargo test --workspace --no-fail-fast
