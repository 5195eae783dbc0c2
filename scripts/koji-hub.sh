#!/usr/bin/env bash
# A real Koji hub, out of a folder with Koji's own source (a clone of its repository; no registry has it), for tests by hand:
# PostgreSQL as an ordinary user, and the hub behind a small web server. Tests use it instead of `osbs hub` when
# OSBS_TEST_KOJI_SOURCE names such a folder.
#
# usage: scripts/koji-hub.sh create SOURCE FOLDER CACHE            an empty hub; its administrator is `kojiadmin`
#        scripts/koji-hub.sh serve SOURCE FOLDER CACHE ADDRESS     until it is killed; with `buildContainer` and /kojifiles
#        scripts/koji-hub.sh builder SOURCE FOLDER CACHE ADDRESS USER   Koji's own builder, until it is killed
#        scripts/koji-hub.sh password FOLDER USER [PERMISSION]     sets it, from standard input; makes the user if need be
#        scripts/koji-hub.sh stop FOLDER
#
# FOLDER is the hub's `topdir`; FOLDER/hub holds the rest: database, configuration, log. The builder does what a hub leaves to
# builders (`tagBuild`); it logs in as USER, whose password it reads from standard input.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n 's/^# \(usage: .*\)/\1/p; s/^#        \(scripts.*\)/       \1/p' "$here/koji-hub.sh" >&2; exit 2; }

stop_with() {
  printf 'koji-hub: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '          %s\n' "$line" >&2; done
  exit 1
}

source='' folder='' cache=''
case ${1:-}-$# in
  create-4 | serve-5 | builder-6) source=$(realpath "$2") folder=$3 cache=$4 ;;
  password-3 | password-4 | stop-2) folder=$2 ;;
  *) usage ;;
esac
mkdir -p "$folder"
folder=$(realpath "$folder")
hub=$folder/hub
database=$hub/database
[ -z "$source" ] || [ -e "$source/schemas/schema.sql" ] || stop_with "no source of Koji in $source" \
  'SOURCE is a clone of its repository: schemas/schema.sql is in it'

postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$postgres" ] || stop_with 'PostgreSQL is missing' 'run: apt-get install --no-install-recommends postgresql'

# PostgreSQL refuses to run as root. Debian's package makes the user. Its socket has a short way: names have 107 bytes.
socket=/tmp/koji-hub.$(printf %s "$hub" | sha256sum | cut -c1-12)
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid postgres --regid postgres --clear-groups -- env HOME=/tmp "$@"
  else
    "$@"
  fi
}
sql() { as_postgres "$postgres/psql" -h "$socket" -U postgres -d koji -q -v ON_ERROR_STOP=1 "$@"; }

install() {
  local venv=$cache/koji-hub/venv
  mkdir -p "$cache/koji-hub"
  exec 8>"$cache/koji-hub/lock"
  flock 8
  if ! [ -e "$venv/complete" ]; then
    # Debian's own interpreter, for its python3-rpm.
    /usr/bin/python3 -m venv --clear --system-site-packages "$venv"
    "$venv/bin/pip" install --quiet --no-input --disable-pip-version-check \
      CT3 defusedxml gunicorn psycopg2-binary python-dateutil python-multilib requests requests-gssapi six
    touch "$venv/complete"
  fi
  exec 8>&-
}

create() {
  install
  mkdir -p "$database" "$folder/work" "$folder/packages" "$folder/repos" "$socket"
  chmod 755 "$hub"
  [ "$(id -u)" != 0 ] || chown postgres: "$database" "$socket"
  # Who reaches the socket is let in.
  chmod 700 "$socket"
  as_postgres "$postgres/initdb" -D "$database/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$hub/initdb.log"
  as_postgres "$postgres/pg_ctl" -D "$database/data" -s -w -t 120 -l "$database/log" -o \
    "-c listen_addresses='' -c unix_socket_directories='$socket' -c fsync=off -c full_page_writes=off -c synchronous_commit=off" start
  as_postgres "$postgres/createdb" -h "$socket" -U postgres koji
  sql <"$source/schemas/schema.sql" >"$hub/schema.log" 2>&1 || stop_with 'the schema cannot be loaded' "$hub/schema.log tells why"
  cat >"$hub/hub.conf" <<C
[hub]
DBName = koji
DBUser = postgres
DBHost = $socket
KojiDir = $folder
KojiWebURL = http://koji.test/koji
DisableNotifications = True
PluginPath = $here/../integrations/koji/hub
Plugins = hub_containerbuild
# Seconds: a test need not wait for a minute until a task is assigned.
RunInterval = 1
C
  cat >"$hub/served.py" <<P
import os
from kojihub.kojixmlrpc import application as kojihub

TOP = os.environ["TOPDIR"]


def application(environ, start_response):
    path = environ.get("PATH_INFO", "")
    if not path.startswith("/kojifiles/"):
        environ["koji.hub.ConfigFile"] = os.path.join(TOP, "hub/hub.conf")
        environ["koji.hub.ConfigDir"] = os.path.join(TOP, "hub/none")
        return kojihub(environ, start_response)
    name = os.path.realpath(os.path.join(TOP, path[len("/kojifiles/") :]))
    if not name.startswith(TOP + os.sep) or not os.path.isfile(name):
        start_response("404 Not Found", [])
        return [b""]
    start_response("200 OK", [("Content-Length", str(os.path.getsize(name)))])
    return environ["wsgi.file_wrapper"](open(name, "rb"))
P
}

serve() { # serve ADDRESS
  export HOME=$hub TOPDIR=$folder PYTHONPATH=$source:$hub PYTHONDONTWRITEBYTECODE=1
  # A connection on which nothing is asked yet holds up nobody, as under Apache.
  exec "$cache/koji-hub/venv/bin/gunicorn" --bind "$1" --worker-class gthread --workers 4 --threads 2 --timeout 300 \
    --log-file "$hub/log" --capture-output served:application
}

builder() { # builder ADDRESS USER
  local password
  password=$(cat)
  "$cache/koji-hub/venv/bin/python" -c 'import librepo, dnf' 2>/dev/null ||
    stop_with 'Debian has modules that it needs' 'run: apt-get install --no-install-recommends python3-dnf python3-librepo'
  # It looks there for build roots of its own: the one thing outside FOLDER and CACHE that stays.
  mkdir -p "$hub/builder/mock" /etc/mock/koji
  (umask 077 && cat >"$hub/builder/kojid.conf") <<C
[kojid]
server = http://$1/kojihub
topurl = http://$1/kojifiles
user = $2
password = $password
sleeptime = 1
retry_interval = 2
offline_retry_interval = 2
minspace = 1
workdir = $hub/builder
mockdir = $hub/builder/mock
mockuser = root
C
  export PYTHONPATH=$source PYTHONDONTWRITEBYTECODE=1
  exec "$cache/koji-hub/venv/bin/python" "$source/builder/kojid" -c "$hub/builder/kojid.conf" --fg --force-lock \
    >"$hub/builder/log" 2>&1
}

set_password() { # set_password USER [PERMISSION]
  local password
  password=$(cat)
  sql -v user="$1" -v password="$password" -v permission="${2:-}" <<'S'
INSERT INTO users (name, usertype, status) SELECT :'user', 0, 0 WHERE NOT EXISTS (SELECT 1 FROM users WHERE name = :'user');
UPDATE users SET password = :'password' WHERE name = :'user';
INSERT INTO user_perms (user_id, perm_id, creator_id)
  SELECT users.id, permissions.id, users.id FROM users, permissions
  WHERE users.name = :'user' AND permissions.name = :'permission';
S
}

stop() {
  [ ! -e "$database/data/postmaster.pid" ] || as_postgres "$postgres/pg_ctl" -D "$database/data" -s -w -m immediate stop || true
  rm -rf "$socket"
}

case $1 in
  create) create ;;
  serve) serve "$5" ;;
  builder) builder "$5" "$6" ;;
  password) set_password "$3" "${4:-}" ;;
  stop) stop ;;
esac
