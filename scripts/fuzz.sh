#!/usr/bin/env bash
# Runs fuzz targets, guided by coverage, with the stable compiler: the engine is libFuzzer, built from its crate.
# usage: scripts/fuzz.sh CACHE SECONDS [TARGET...]         (all targets when none is named, as many at once as cores)
#   FUZZ_SANITIZER=address   also finds misuse of memory by unsafe Rust, and of the heap by C libraries; half as fast
# What is found lies in CACHE/fuzz/found/TARGET, inputs that reach new code in CACHE/fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${1:?usage: scripts/fuzz.sh CACHE SECONDS [TARGET...]}
seconds=${2:?usage: scripts/fuzz.sh CACHE SECONDS [TARGET...]}
shift 2
mkdir -p "$cache/fuzz"
cache=$(cd "$cache/fuzz" && pwd)
all=$(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
[ $# -gt 0 ] || set -- $all
for target in "$@"; do
  grep -qx "$target" <<<"$all" || { printf 'fuzz: there is no target %s; there are: %s\n' "$target" "${all//$'\n'/ }" >&2; exit 2; }
done

# What `cargo fuzz` passes too. A target platform is named so that build scripts and macros stay without it, and the
# folder is one of its own so that the other builds keep theirs.
host=$(rustc -vV | sed -n 's/^host: //p')
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing'
folder=$cache/target
case ${FUZZ_SANITIZER:-} in
  '') ;;
  address)
    # The runtime comes with the stable compiler; only the flag is unstable.
    flags+=' -Zsanitizer=address'
    export RUSTC_BOOTSTRAP=1
    folder=$cache/target-address
    ;;
  *) echo 'fuzz: FUZZ_SANITIZER may be address or empty' >&2; exit 2 ;;
esac
start=$SECONDS
RUSTFLAGS=$flags cargo build --quiet --locked --package osbs-fuzz --features libfuzzer --bins --profile fuzz \
  --target "$host" --target-dir "$folder"
printf 'fuzz: built in %d s\n' $((SECONDS - start))

run() {
  local target=$1 found=$cache/found/$1/
  local log=$cache/$target.log own=$cache/corpus/$target
  local kept=("fuzz/corpus/$target") options=()
  [ ! -f "fuzz/dictionaries/$target" ] || options+=("-dict=fuzz/dictionaries/$target")
  [ ! -d "fuzz/regressions/$target" ] || kept+=("fuzz/regressions/$target")
  mkdir -p "$found" "$own"
  if "$folder/$host/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$found" -print_final_stats=1 ${options[@]+"${options[@]}"} "$own" "${kept[@]}" >"$log" 2>&1; then
    awk -v t="$target" '/number_of_executed_units/ {runs = $2} /cov: / {for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1)}
      END {printf "fuzz: %-16s %9d runs, %6d places reached\n", t, runs, cov}' "$log"
  else
    tail -n 40 "$log" >&2
    printf 'fuzz: %s failed; the input is in %s, all words in %s\n' "$target" "$found" "$log" >&2
    return 1
  fi
}
export -f run
export cache folder host seconds
printf '%s\n' "$@" | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I{} bash -c 'set -euo pipefail; run {}'
