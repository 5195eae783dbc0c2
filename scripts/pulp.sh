#!/usr/bin/env bash
# A real Pulp 3 with its container plugin, for tests and for trying things by hand: PostgreSQL as an ordinary user, and
# Pulp's API, content server and worker, all on loopback ports that the kernel gives.
#
# usage: scripts/pulp.sh install CACHE        the programs, and an empty database to copy; once a CACHE (about a minute)
#        scripts/pulp.sh start FOLDER CACHE   starts it and prints what FOLDER/address holds
#        scripts/pulp.sh run FOLDER CACHE     the same, and stops it when standard input ends: nothing outlives the caller
#        scripts/pulp.sh again FOLDER CACHE PART   starts one part that has died: api, content or worker
#        scripts/pulp.sh stop FOLDER
#
# FOLDER/address has the lines `api=http://HOST:PORT`, `content=http://HOST:PORT`, `username=admin` and `password=...`;
# FOLDER/{api,content,worker,postgres}.pid the process ids, FOLDER/*.log what they say.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n 's/^# \(usage: .*\)/\1/p; s/^#        \(scripts.*\)/       \1/p' "$here/pulp.sh" >&2; exit 2; }

action=${1:-}
folder=${2:-}
[ -n "$action" ] && [ -n "$folder" ] || usage
case $action in
  install) cache=$folder ;;
  start | run) cache=${3:-}; [ -n "$cache" ] || usage ;;
  again) cache=${3:-} part=${4:-}; [ -n "$cache" ] && [ -n "$part" ] || usage ;;
  stop) cache= ;;
  *) usage ;;
esac
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# The programs of one list of packages, and the database they made, lie in a folder of their own. To be counted up when
# what `install` makes changes.
made=2
password=a-password-for-tests
if [ -n "$cache" ]; then
  mkdir -p "$cache"
  key=$(cat "$here/pulp-requirements.txt" <(echo $made) <(python3 --version) | sha256sum | cut -c1-16)
  home=$(cd "$cache" && pwd)/pulp/$key
  bin=$home/venv/bin
fi

stop_with() {
  printf 'pulp: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '      %s\n' "$line" >&2; done
  exit 1
}

# PostgreSQL refuses to run as root. Debian's package makes the user.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid postgres --regid postgres --clear-groups -- env HOME=/tmp "$@"
  else
    "$@"
  fi
}

postgres_bin() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
  [ -n "$found" ] || stop_with 'PostgreSQL is missing' 'run: apt-get install --no-install-recommends postgresql'
  echo "$found"
}

start_postgres() { # start_postgres DATA LOG: listens on a socket in DATA only
  as_postgres "$(postgres_bin)/pg_ctl" -D "$1" -s -w -t 120 -l "$2" \
    -o "-c listen_addresses='' -c unix_socket_directories='$1' -c fsync=off -c full_page_writes=off -c synchronous_commit=off" start
}

write_settings() { # write_settings FOLDER DATABASE-FOLDER CONTENT-ORIGIN
  cat >"$1/settings.py" <<P
SECRET_KEY = "only for tests on this machine"
DB_ENCRYPTION_KEY = "$1/fields.key"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "pulp", "USER": "postgres", "HOST": "$2"}}
CONTENT_ORIGIN = "$3"
TOKEN_AUTH_DISABLED = True
MEDIA_ROOT = "$1/media"
WORKING_DIRECTORY = "$1/work"
FILE_UPLOAD_TEMP_DIR = "$1/upload"
STATIC_ROOT = "$1/static"
STORAGES = {
    "default": {"BACKEND": "pulpcore.app.models.storage.FileSystem", "OPTIONS": {"location": "$1/media"}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
ALLOWED_HOSTS = ["*"]
ANALYTICS = False
P
  mkdir -p "$1/media/artifact" "$1/work" "$1/upload" "$1/static"
}

pulp_program() { # pulp_program FOLDER PROGRAM ARGUMENT...: without the caller's environment, in place of this shell
  local in=$1
  shift
  exec env -i PATH="$bin:/usr/local/bin:/usr/bin:/bin" HOME="$in" LC_ALL=C.UTF-8 TZ=UTC PULP_SETTINGS="$in/settings.py" \
    PYTHONDONTWRITEBYTECODE=1 "$@"
}

install() {
  [ -e "$home/complete" ] && return
  mkdir -p "$home"
  exec 8>"$home/lock"
  flock 8
  [ -e "$home/complete" ] && return
  local begun=$SECONDS
  echo 'pulp: installing its programs, once on this machine' >&2
  rm -rf "$home/venv" "$home/fresh"
  python3 -m venv "$home/venv"
  "$bin/pip" install --quiet --no-input --disable-pip-version-check -r "$here/pulp-requirements.txt" >"$home/pip.log" 2>&1 || {
    tail -n 10 "$home/pip.log" >&2
    stop_with 'its packages cannot be installed; the last words of pip are above'
  }
  # One database with all its tables and the administrator; every start gets a copy of it.
  local fresh=$home/fresh database
  database=$(mktemp -d /tmp/pulp-database.XXXXXX)
  mkdir -p "$fresh"
  [ "$(id -u)" != 0 ] || chown postgres: "$database"
  as_postgres "$(postgres_bin)/initdb" -D "$database/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$home/initdb.log"
  start_postgres "$database/data" "$database/log" 8>&-
  trap 'as_postgres "$(postgres_bin)/pg_ctl" -D "$database/data" -s -m immediate stop || true; rm -rf "$database"' EXIT
  as_postgres "$(postgres_bin)/createdb" -h "$database/data" -U postgres pulp
  python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())' >"$fresh/fields.key"
  write_settings "$fresh" "$database/data" http://127.0.0.1
  { (pulp_program "$fresh" pulpcore-manager migrate --no-input) &&
    (pulp_program "$fresh" pulpcore-manager reset-admin-password --password $password); } >"$home/migrate.log" 2>&1 || {
    tail -n 10 "$home/migrate.log" >&2
    stop_with 'its database cannot be made; its last words are above'
  }
  as_postgres "$(postgres_bin)/pg_ctl" -D "$database/data" -s -w -m fast stop
  tar -C "$database" -cf "$home/database.tar" data
  rm -rf "$database"
  trap - EXIT
  touch "$home/complete"
  printf 'pulp: installed in %d s\n' $((SECONDS - begun)) >&2
}

free_ports() {
  python3 - <<'P'
import socket
held = [socket.socket() for _ in range(2)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
P
}

launch() { # launch NAME PROGRAM ARGUMENT...: in a session of its own, nothing of ours open in it
  local name=$1
  shift
  # In the background a job is no leader of a group yet, so that setsid keeps the process id.
  pulp_program "$folder" setsid -- "$@" </dev/null >"$folder/$name.log" 2>&1 8>&- &
  echo $! >"$folder/$name.pid"
}

launch_part() { # launch_part api|content|worker
  case $1 in
    api) launch api pulpcore-api -b "127.0.0.1:$api" --workers 2 ;;
    content) launch content pulpcore-content -b "127.0.0.1:$content" --workers 1 ;;
    # Two: builds that run side by side wait for one another's tasks.
    worker) launch worker bash -c 'pulpcore-worker & exec pulpcore-worker' ;;
    *) usage ;;
  esac
}

# Up when the worker and the content server have said so in the database.
wait_until_up() {
  local status=http://127.0.0.1:$api/pulp/api/v3/status/ waited=0
  until curl -fsS --max-time 10 "$status" 2>/dev/null | python3 -c '
import json, sys
said = json.load(sys.stdin)
sys.exit(not (said["online_workers"] and said["online_content_apps"]))' 2>/dev/null; do
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || { tail -n 5 "$folder"/*.log >&2; stop_with 'it did not come up; the ends of its logs are above'; }
    sleep 0.3
  done
}

again() { # again PART: at its old address
  api=$(sed -n 's/^api=.*://p' "$folder/address")
  content=$(sed -n 's/^content=.*://p' "$folder/address")
  launch_part "$1"
  wait_until_up
}

start() {
  install
  exec 8>&-
  local database part
  # Of its own, because the caller's folder need not be open to the database's user.
  database=$(mktemp -d /tmp/pulp-database.XXXXXX)
  echo "$database" >"$folder/database"
  tar -C "$database" -xf "$home/database.tar"
  [ "$(id -u)" != 0 ] || chown -R postgres: "$database"
  start_postgres "$database/data" "$database/log" >/dev/null
  head -n 1 "$database/data/postmaster.pid" >"$folder/postgres.pid"
  read -r api content < <(free_ports)
  write_settings "$folder" "$database/data" "http://127.0.0.1:$content"
  cp "$home/fresh/fields.key" "$folder/fields.key"
  for part in api content worker; do launch_part "$part"; done
  wait_until_up
  cat >"$folder/address" <<A
api=http://127.0.0.1:$api
content=http://127.0.0.1:$content
username=admin
password=$password
A
  cat "$folder/address"
}

# A session is a process group: its workers go with its leader.
end() { # end NAME SIGNAL
  local pid
  pid=$(cat "$folder/$1.pid" 2>/dev/null) || return 0
  kill "-$2" -- "-$pid" 2>/dev/null || true
}

stop() {
  trap - EXIT
  local database
  for name in api content worker; do end "$name" KILL; done
  database=$(cat "$folder/database" 2>/dev/null || true)
  if [ -n "$database" ] && [ -d "$database" ]; then
    as_postgres "$(postgres_bin)/pg_ctl" -D "$database/data" -s -w -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$database"
  fi
  rm -f "$folder"/*.pid "$folder/database" "$folder/address"
}

case $action in
  install) install ;;
  start)
    trap stop EXIT
    start
    trap - EXIT
    ;;
  run)
    trap stop EXIT
    trap 'exit 1' INT TERM HUP
    start
    # Until whoever started this is gone, however that came about.
    cat >/dev/null
    ;;
  again) again "$part" ;;
  stop) stop ;;
esac
