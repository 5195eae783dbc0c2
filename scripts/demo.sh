#!/usr/bin/env bash
# The main job on real input: a small RPM distribution, a base image of it, a layered image on that, for x86_64 and
# aarch64, pushed to a registry on this machine, the second as a task of a Koji hub on this machine. `make demo` runs this
# after scripts/setup.sh.
# usage: scripts/demo.sh CACHE     OSBS names a program that is there, instead of one that is built here
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${1:?cache folder}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
demo=$cache/demo
mkdir -p "$demo/git"

say() { printf '\n== %s\n' "$1"; }

if [ -z "${OSBS:-}" ]; then
  say 'the program'
  cargo build --release --package osbs
  OSBS=${CARGO_TARGET_DIR:-target}/release/osbs
fi
osbs=$(realpath "$OSBS")

say 'a registry on this machine'
registry=$(scripts/registry.sh start "$demo/registry")
echo "$registry, stops with: make demo-stop"

say 'a Koji hub and its builder on this machine'
hub=$(scripts/demo-koji.sh hub "$demo" "$osbs")
clients=$demo/hub/clients
"$osbs" --quiet hub --dir "$demo/hub" prepare demo --arch x86_64 --arch aarch64 --url "$hub" --user demo \
  --package example-base-container --package example-hello-container --allowed-scms "*:$demo/git/*" >/dev/null
echo "plugin_paths = $PWD/integrations/koji/cli" >>"$clients/koji.conf"

echo "$hub, data and passwords in $demo/hub"

say 'the example distribution'
scripts/make-distribution.sh --cache "$cache/distribution-cache" "$cache/distribution" x86_64 aarch64

say 'the repositories'
for example in base hello; do
  scripts/make-example.sh "$example" "$cache/distribution" "$demo/git/$example"
done

cat >"$demo/osbs.conf" <<C
[default]
openshift_url = local://$demo/home
can_orchestrate = true
max_concurrent_builds = 2
C
cat >"$demo/config.yaml" <<C
version: 1
clusters:
  x86_64: [{name: local, max_concurrent_builds: 2}]
  aarch64: [{name: local, max_concurrent_builds: 2}]
platform_descriptors:
  - {platform: x86_64, architecture: amd64}
  - {platform: aarch64, architecture: arm64}
registries:
  - url: http://$registry
source_registry:
  url: http://$registry
  insecure: true
group_manifests: true
image_labels:
  vendor: Example
C

cat "$clients/koji.yaml" >>"$demo/config.yaml"
scripts/demo-koji.sh builder "$demo" "$osbs"

# Foreign programs run through the kernel's binfmt_misc, which a freshly installed package does not always set up.
"$osbs" config enable-platform x86_64 aarch64

say 'building base'
"$osbs" --config "$demo/osbs.conf" build --git-url "file://$demo/git/base" --git-branch main --user demo \
  --target demo-candidate

say 'building hello, as a task of Koji'
"$osbs" koji-build --koji-config "$clients/koji.conf" --wait --git-branch main demo-candidate \
  "git+file://$demo/git/hello#main" | tee "$demo/koji-build.out"

say 'what Koji has of it'
call() { "$osbs" --quiet hub --dir "$demo/hub" call "$@"; }
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"; }
told() { sed -n "s/^.*$1\([0-9][0-9]*\)\$/\1/p" "$demo/koji-build.out" | head -n 1; }
task=$(told 'Created task: ')
build=$(told 'buildinfo?buildID=')
record=$(call getBuild "$build")
of_record() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" <<<"$record"; }
files=$demo/hub/packages/$(of_record package_name)/$(of_record version)/$(of_record release)
row() { printf '%10s  %s\n' "$1" "$2"; }
list() { # list LABEL FOLDER NAME
  local size name
  row "$1" "$2:"
  find "$2" -type f -name "$3" -printf '%s %P\n' | sort -k 2 | while read -r size name; do
    row '' "  $name, $(numfmt --to=si --suffix=B "$size")"
  done
}
row task "$task, closed"
row build "$(of_record nvr), number $build, tagged $(call listTags "$build" | field name | paste -sd ' ')"
list archives "$files/images" '*'
list logs "$files/data/logs" '*.log'
label='pull specs'
sed -n '/^repositories:$/,/^[^ ]/s/^    //p' "$demo/koji-build.out" | while read -r spec; do
  row "$label" "$spec"
  label=
done

# Koji's own client, if it is here.
koji=$(command -v koji || ls "$cache"/koji/*/venv/bin/koji 2>/dev/null | head -n 1 || true)
where=
[ "$cache" = "$PWD/.cache" ] || where=" CACHE=$cache"
say 'what to try next'
cat <<T
$osbs koji-build --koji-config $clients/koji.conf --scratch --wait --git-branch main demo-candidate git+file://$demo/git/hello#main
${koji:-koji} -c $clients/koji.conf watch-logs $task | grep -w aarch64
make demo-stop$where
T
[ -n "$koji" ] || echo "(Koji's own client is not here: $PWD/scripts/koji.sh bin $cache installs it, and says where)"
