#!/usr/bin/env bash
# The part of `scripts/kubernetes.sh` inside the cluster's namespaces. `run` is their first process: when it ends, at the
# latest when its standard input does, the kernel ends all others and takes their mounts away.
# usage: scripts/kubernetes-inside.sh run FOLDER HOME PLACE...
#        scripts/kubernetes-inside.sh start|stop|kill|restart FOLDER COMPONENT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
action=$1 folder=$2
shift 2

alive() { # alive PID: a process that ended but was not waited for yet is not
  [ -n "$1" ] && [ -e "/proc/$1/stat" ] && ! grep -q '^State:.*zombie' "/proc/$1/status" 2>/dev/null
}

launch() { # launch COMPONENT
  local command=() pid
  pid=$(cat "$folder/pids/$1" 2>/dev/null || true)
  ! alive "$pid" || return 0
  mapfile -t command <"$folder/arguments/$1"
  setsid -- "${command[@]}" </dev/null >>"$folder/log/$1.log" 2>&1 &
  echo $! >"$folder/pids/$1"
}

# A component gets ten seconds to end by itself.
end() { # end COMPONENT SIGNAL
  local pid tries
  pid=$(cat "$folder/pids/$1" 2>/dev/null || true)
  alive "$pid" || return 0
  kill "-$2" "$pid"
  for tries in $(seq 600); do
    alive "$pid" || return 0
    [ "$tries" != 100 ] || kill -KILL "$pid"
    sleep 0.1
  done
  echo "kubernetes: $1 does not end" >&2
  return 1
}

wait_for() { # wait_for WHAT COMMAND...: or all ends
  local what=$1 deadline=$((SECONDS + 300)) name
  shift
  until "$@" >/dev/null 2>&1; do
    for name in "$folder"/pids/*; do
      alive "$(cat "$name")" || give_up "${name##*/} ended" "${name##*/}"
    done
    [ "$SECONDS" -lt "$deadline" ] || give_up "no $what" etcd apiserver containerd kubelet
    sleep 0.1
  done
}

give_up() { # give_up WHY COMPONENT...
  printf 'kubernetes: %s; the ends of the logs:\n' "$1" >&2
  shift
  for name in "$@"; do tail -n 15 "$folder/log/$name.log" >&2 || true; done
  exit 1
}

api() { # api SERVER PATH
  curl -fsS --max-time 10 --cacert "$folder/pki/ca.crt" --cert "$folder/pki/admin.crt" --key "$folder/pki/admin.key" "$1$2"
}

fact() { sed -n "s/^  \"$1\": \"\(.*\)\",\$/\1/p" "$folder/ready.json.new"; }

node_is_ready() {
  api "$server" "/api/v1/nodes/$node" | jq -e '.status.conditions[] | select(.type == "Ready" and .status == "True")'
}

run() { # run HOME PLACE...
  local home=$1 place archive server server2 etcd node
  shift
  # A container's mounts may be handed on, but to no place outside.
  mount --make-rshared /
  # Hides the machine's systemd, which knows nothing of our process ids, and takes what containerd leaves.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock
  for place in "$@"; do mount --bind "$folder/data/places$place" "$place"; done
  server=$(fact server) server2=$(fact server2) etcd=$(fact etcd_server) node=$(fact node)
  launch containerd
  launch etcd
  wait_for 'etcd' curl -fsS --max-time 10 "$etcd/health"
  launch apiserver
  wait_for 'containerd' ctr --address "$folder/containerd.sock" version
  for archive in pause busybox; do
    "$here/kubernetes.sh" import "$folder" "$home/$archive.tar" "localhost/osbs-test/$archive:1" || give_up "no image" containerd
  done
  wait_for 'API server' api "$server" /readyz
  launch controller-manager
  launch scheduler
  launch service-address
  launch kubelet
  launch apiserver2
  wait_for 'second API server' api "$server2" /readyz
  wait_for 'service account' api "$server" /api/v1/namespaces/default/serviceaccounts/default
  wait_for 'node' node_is_ready
  mv "$folder/ready.json.new" "$folder/ready.json"
}

case $action in
  run)
    # Until our caller is gone, be it up by then or not; or until it can't come up.
    trap 'exit 1' USR1
    exec 3<&0
    (
      trap '[ $? = 0 ] || kill -USR1 $$' EXIT
      run "$@"
    ) </dev/null 3<&- &
    cat <&3 >/dev/null &
    wait $! || true
    exit 0
    ;;
  start) launch "$1" ;;
  stop) end "$1" TERM ;;
  kill) end "$1" KILL ;;
  restart) end "$1" TERM && launch "$1" ;;
  *) exit 2 ;;
esac
