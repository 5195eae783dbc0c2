#!/usr/bin/env bash
# Installs the example distribution's base packages into a new root file system for each ARCH, as a base image's build
# does, and runs its programs there: bash's scriptlet has run, rpm knows what is installed, uname tells the ARCH.
# usage: scripts/check-distribution.sh DISTRIBUTION ARCH...      (needs root, dnf and, for a foreign ARCH, binfmt)
set -euo pipefail

stop() {
  printf 'check-distribution: %s\n' "$1" >&2
  exit 1
}

[ $# -ge 2 ] || stop 'usage: scripts/check-distribution.sh DISTRIBUTION ARCH...'
command -v dnf >/dev/null || stop 'dnf is missing; run as root: apt-get install dnf'
distribution=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Debian's rpm puts the database into the home folder of the new root unless it is told what every other rpm does.
echo '%_dbpath /var/lib/rpm' >"$work/.rpmmacros"

for arch in "$@"; do
  root=$work/$arch
  mkdir "$root"
  HOME=$work dnf -y --quiet --installroot="$root" --disablerepo='*' --repofrompath="example,file://$distribution/\$basearch" \
    --setopt=example.gpgcheck=0 --setopt=install_weak_deps=False --releasever=1 --forcearch="$arch" \
    install bash coreutils rpm hello >"$work/log" 2>&1 || { tail -n 15 "$work/log" >&2; stop "dnf failed for $arch"; }
  inside=(env -i PATH=/usr/bin:/usr/sbin chroot "$root")
  [ "$("${inside[@]}" uname -m)" = "$arch" ] || stop "programs of $arch do not run here; try: osbs config enable-platform $arch"
  grep -qx /bin/bash "$root/etc/shells" || stop "bash's scriptlet did not run for $arch"
  [ -e "$root/var/lib/rpm/rpmdb.sqlite" ] || stop "the RPM database is not where it should be for $arch"
  [ "$("${inside[@]}" hello)" = 'Hello, world!' ] || stop "hello says something else on $arch"
  "${inside[@]}" rpm -q rpm >/dev/null || stop "rpm does not work in the root for $arch"
  installed=$("${inside[@]}" rpm -qa --queryformat '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n' | sort)
  if grep -v "\.$arch\$" <<<"$installed"; then stop "packages of another architecture are installed, see above"; fi
  changed=$("${inside[@]}" rpm -Va || true)
  [ -z "$changed" ] || stop "files on $arch are not as their packages have them: $changed"
  printf '%s: %s packages installed, %s\n' "$arch" "$(wc -l <<<"$installed")" "$(du -sh "$root" | cut -f1)"
done
