#!/usr/bin/env bash
# The main job on real input: a small RPM distribution, a base image of it, a layered image on that, for x86_64 and
# aarch64, pushed to a registry on this machine. `make demo` runs this after scripts/setup.sh.
# usage: scripts/demo.sh CACHE
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${1:?cache folder}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
demo=$cache/demo
mkdir -p "$demo/git"

say() { printf '\n== %s\n' "$1"; }

say 'the program'
cargo build --release --package osbs
osbs=${CARGO_TARGET_DIR:-target}/release/osbs

say 'a registry on this machine'
registry=$(scripts/registry.sh start "$demo/registry")
echo "$registry, stops with: make demo-stop"

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

# Foreign programs run through the kernel's binfmt_misc, which a freshly installed package does not always set up.
"$osbs" config enable-platform x86_64 aarch64

for example in base hello; do
  say "building $example"
  "$osbs" --config "$demo/osbs.conf" build --git-url "file://$demo/git/$example" --git-branch main --user demo
done

say 'what to try next'
cat <<T
$osbs --config $demo/osbs.conf list-builds
$osbs --config $demo/osbs.conf build-logs \$($osbs --config $demo/osbs.conf list-builds -n 1 --columns name 2>/dev/null) --platform aarch64
skopeo inspect --raw --tls-verify=false docker://$registry/example/hello:latest
T
