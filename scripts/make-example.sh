#!/usr/bin/env bash
# Puts one of examples/ into a git repository, as its author would, and commits what has changed; prints the URL.
# usage: scripts/make-example.sh base|hello DISTRIBUTION REPOSITORY
#   DISTRIBUTION  what scripts/make-distribution.sh made; its place goes into the kickstart file, and the packages that
#                 `hello` installs are taken from it
set -euo pipefail

stop() {
  printf 'make-example: %s\n' "$1" >&2
  exit 1
}

[ $# -eq 3 ] || stop 'usage: scripts/make-example.sh base|hello DISTRIBUTION REPOSITORY'
source=$(cd "$(dirname "$0")/.." && pwd)/examples/$1
[ -f "$source/Dockerfile" ] || stop "there is no example $1"
distribution=$(cd "$2" && pwd)
repository=$3
ls "$distribution"/*/repodata/repomd.xml >/dev/null 2>&1 ||
  stop "$distribution holds no repository; run: scripts/make-distribution.sh $distribution x86_64 aarch64"

mkdir -p "$repository"
repository=$(cd "$repository" && pwd)
[ -d "$repository/.git" ] || git -c init.defaultBranch=main init --quiet "$repository"
find "$repository" -mindepth 1 -maxdepth 1 -not -name .git -exec rm -rf {} +
cp -r "$source/." "$repository/"
# What an example cannot know ahead: where the distribution lies.
{ grep -rlI --exclude-dir=.git '@DISTRIBUTION@/' "$repository" || true; } | xargs -r sed -i "s|@DISTRIBUTION@/|file://$distribution/|g"
if [ "$1" = hello ]; then
  for folder in "$distribution"/*/repodata; do
    arch=$(basename "$(dirname "$folder")")
    mkdir -p "$repository/packages/$arch"
    for package in hello jq libjq1 libonig5; do
      cp "$distribution/$arch/$package"-[0-9]*.rpm "$repository/packages/$arch/"
    done
  done
fi
git -C "$repository" add --all
git -C "$repository" diff --cached --quiet ||
  git -C "$repository" -c user.name=example -c user.email=example@localhost commit --quiet --message "Example $1"
echo "file://$repository"
