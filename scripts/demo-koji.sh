#!/usr/bin/env bash
# The Koji of the demo: `osbs hub` and `osbs kojid` in the background, on loopback, with their data below the demo's folder.
# usage: scripts/demo-koji.sh hub DEMO OSBS        starts the hub, prints its URL
#        scripts/demo-koji.sh builder DEMO OSBS    starts the builder; DEMO has osbs.conf, and the hub's kojid.conf
#        scripts/demo-koji.sh stop DEMO            stops both, and the builds that go on
# What runs already is left running, unless the program has been built anew meanwhile.
set -euo pipefail

usage() { sed -n 's/^# \(usage: .*\)/\1/p; s/^#        \(scripts.*\)/       \1/p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
action=$1
[ -d "$2" ] || { [ "$action" = stop ] && exit 0; echo "there is no folder $2" >&2; exit 1; }
demo=$(cd "$2" && pwd)
osbs=${3:+$(realpath "$3")}

running() { # running NAME: prints its process id, if it is ours and there
  local pid
  pid=$(cat "$demo/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  # A process id may be another's by now.
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -F " $1 " | grep -qF "$demo/" || return 1
  echo "$pid"
}

current() { # current NAME: it runs, and is the program that is there now
  local pid
  pid=$(running "$1") && [ "$(readlink "/proc/$pid/exe")" = "$osbs" ]
}

stop() { # stop NAME
  local pid
  if pid=$(running "$1"); then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 150); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$demo/$1.pid"
}

start() { # start NAME OUT ARGUMENT...: in a session of its own, so that Ctrl-C ends the demo and not this
  local name=$1 out=$2
  shift 2
  setsid "$osbs" "$@" </dev/null >"$out" 2>"$demo/$name.log" &
  echo $! >"$demo/$name.pid"
}

serve() { # serve PORT: whether the hub listens, half a minute given
  start hub "$demo/hub.new-url" --quiet hub --dir "$demo/hub" serve --listen "127.0.0.1:$1"
  for _ in $(seq 600); do
    [ -s "$demo/hub.new-url" ] && return
    running hub >/dev/null || kill -0 "$(cat "$demo/hub.pid")" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

case $action in
  hub)
    [ -x "$osbs" ] || usage
    if ! current hub; then
      stop hub
      # The same port again, so that addresses of earlier runs stay right.
      port=$(sed -n 's|.*:\([0-9]*\)/kojihub$|\1|p' "$demo/hub.url" 2>/dev/null || true)
      serve "${port:-0}" || serve 0 || {
        echo 'the hub did not start:' >&2
        tail -n 5 "$demo/hub.log" >&2
        exit 1
      }
      mv "$demo/hub.new-url" "$demo/hub.url"
    fi
    cat "$demo/hub.url"
    ;;
  builder)
    [ -x "$osbs" ] || usage
    if ! current kojid; then
      stop kojid
      start kojid /dev/null --config "$demo/osbs.conf" kojid --kojid-config "$demo/hub/clients/kojid.conf"
    fi
    ;;
  stop)
    # What the builder leaves going would go on without it.
    program=$(readlink "/proc/$(running kojid || echo none)/exe" 2>/dev/null || true)
    program=${program% (deleted)}
    if [ -x "$program" ]; then
      builds=$("$program" --config "$demo/osbs.conf" list-builds --running --columns name 2>/dev/null || true)
      stop kojid
      # shellcheck disable=SC2086 # one word a build
      [ -z "$builds" ] || "$program" --config "$demo/osbs.conf" cancel-build --wait $builds >/dev/null 2>&1 || true
    fi
    stop kojid
    stop hub
    ;;
  *) usage ;;
esac
