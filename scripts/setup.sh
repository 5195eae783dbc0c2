#!/usr/bin/env bash
# Installs by package name what `make demo` and `make test` need; a second run changes nothing and takes no time.
# Says what to do instead, and stops before it has changed anything, where it can't.
# usage: scripts/setup.sh demo|test
set -euo pipefail

need_rust=1.95
demo_packages=(git make gcc libc6-dev runc docker-registry qemu-user-static rpm dnf createrepo-c curl ca-certificates uidmap)
test_packages=(g++ skopeo umoci buildah perl python3 python3-venv python3-dev python3-gssapi python3-rpm libkrb5-dev krb5-kdc krb5-admin-server krb5-user postgresql python3-aiosmtpd nginx-light openssl gpg gpg-agent busybox-static jq sqlite3 strace attr xfsprogs libcap2-bin bzip2 xz-utils zstd groff-base etcd-server containerd containernetworking-plugins golang-go golang-github-modern-go-reflect2-dev golang-github-json-iterator-go-dev dpkg-dev iproute2 iptables socat)

stop() {
  printf 'setup: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

version_at_least() { # version_at_least HAVE WANT
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

case "${1:-}" in
  demo) packages=("${demo_packages[@]}") ;;
  test) packages=("${demo_packages[@]}" "${test_packages[@]}") ;;
  *) stop 'usage: scripts/setup.sh demo|test' ;;
esac

# Everything that could stop us is looked at first.
cargo=$(command -v cargo || true)
[ -n "$cargo" ] || stop "cargo is missing" \
  "Debian 12's own is too old for this project: install Rust $need_rust or newer with rustup," \
  "make sure that cargo is on PATH, and run this again."
have_rust=$(cargo --version | awk '{print $2}')
version_at_least "$have_rust" "$need_rust" || stop "cargo $have_rust is too old, $need_rust or newer is needed" \
  "run: rustup toolchain install stable && rustup default stable"

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
else
  stop "this is not a Debian system: dpkg-query is missing" \
    "install the programs of these Debian packages in your distribution's way: ${packages[*]}" \
    "then build with: cargo build --release --package osbs"
fi

if [ ${#missing[@]} -gt 0 ]; then
  . /etc/os-release
  [ "${ID:-}" = debian ] || [ "${ID_LIKE:-}" = debian ] || stop "this is ${PRETTY_NAME:-not Debian}" \
    "install these packages or their like, then run this again: ${missing[*]}"
  [ "$(id -u)" = 0 ] || stop "packages are missing and only root can install them" \
    "run as root: apt-get update && apt-get install --no-install-recommends ${missing[*]}" \
    "then run this again."
  printf 'setup: installing %s\n' "${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    stop "apt-get could not install the packages; its last words are above"
  fi
  rm -f "$log"
fi

[ "$1" = demo ] || [ "$(id -u)" = 0 ] || stop "the tests need root: they make users and mount" "run this again as root."
