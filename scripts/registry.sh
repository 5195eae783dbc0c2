#!/usr/bin/env bash
# Starts and stops a container registry on a loopback port, for the demo, tests by hand and the benchmark.
# usage: scripts/registry.sh start|stop|address FOLDER [PORT]
# start prints HOST:PORT and leaves a running registry running.
set -euo pipefail

action=${1:?start, stop or address}
folder=${2:?folder}
port=${3:-}
pid_file=$folder/pid
address_file=$folder/address

running() {
  [ -s "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null &&
    grep -q docker-registry "/proc/$(cat "$pid_file")/cmdline" 2>/dev/null
}

free_port() {
  python3 - 2>/dev/null <<'P' || shuf -i 20000-40000 -n 1
import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])
P
}

case $action in
  start)
    if ! running; then
      mkdir -p "$folder/data"
      # The same port again, so that pull specs of earlier runs stay right.
      [ -n "$port" ] || port=$(sed 's/.*://' "$address_file" 2>/dev/null || free_port)
      cat >"$folder/config.yml" <<Y
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $folder/data}
  delete: {enabled: true}
http: {addr: 127.0.0.1:$port}
Y
      echo "127.0.0.1:$port" >"$address_file"
      # Nothing of ours stays open in it: not the terminal, not a pipe that somebody waits on.
      setsid docker-registry serve "$folder/config.yml" </dev/null >"$folder/log" 2>&1 &
      echo $! >"$pid_file"
      for _ in $(seq 100); do
        curl -fsS "http://127.0.0.1:$port/v2/" >/dev/null 2>&1 && break
        running || { echo "the registry did not start:" >&2; tail -n 5 "$folder/log" >&2; exit 1; }
        sleep 0.05
      done
    fi
    cat "$address_file"
    ;;
  address) cat "$address_file" ;;
  stop)
    if running; then kill "$(cat "$pid_file")"; fi
    rm -f "$pid_file"
    ;;
  *)
    echo "usage: scripts/registry.sh start|stop|address FOLDER [PORT]" >&2
    exit 2
    ;;
esac
