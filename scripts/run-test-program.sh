#!/usr/bin/env bash
# Runs one test program for cargo, and ends it with all it has started when its time is over, so that a test that hangs is
# one failure among the others. Which one hangs is told by the program itself after 60 seconds.
# usage: scripts/run-test-program.sh TIME PROGRAM [ARGUMENT...]
set -uo pipefail
time=${1:?usage: scripts/run-test-program.sh TIME PROGRAM [ARGUMENT...]}
shift

# timeout leads a process group of its own, which it can kill as a whole; who ends us means it.
timeout --kill-after=10 "$time" "$@" &
group=$!
trap 'kill -TERM "$group" 2>/dev/null' INT TERM HUP
wait "$group"
status=$?
# 137: it took no notice of the first signal.
if [ "$status" = 124 ] || [ "$status" = 137 ]; then
  printf '\nerror: %s did not end within %s and was stopped.\n' "$1" "$time" >&2
  printf 'Its tests that hung are those that "has been running for over 60 seconds" is said of above, and that did not end.\n' >&2
fi
exit "$status"
