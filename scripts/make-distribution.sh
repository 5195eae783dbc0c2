#!/usr/bin/env bash
# Makes a small RPM distribution out of Debian's packages: OUT/ARCH holds the RPMs and a repository's metadata, good for
# `dnf --installroot` with baseurl file://OUT/$basearch. It has bash, coreutils, rpm and what they need, and hello and jq
# to install on top. Idempotent: what is there already is not made again, and a second run takes no time.
#
# usage: scripts/make-distribution.sh [--cache DIR] [--refresh] [--dnf] OUT ARCH...
#   ARCH       x86_64 or aarch64
#   --cache    where packages are kept between runs (default: ~/.cache/osbs/distribution)
#   --refresh  ask Debian for newer packages; without it the versions of the first run stay
#   --dnf      with dnf, Python and what they need, for images that install packages themselves
#
# Packages come from Debian by the machine's own apt configuration, for either architecture, with its signatures checked;
# nothing is installed and apt's own state is not touched.
set -euo pipefail

# What somebody may want to install; everything these need comes along.
wanted=(bash coreutils findutils grep gzip hello jq rpm sed tar)
# Needed in Debian, but not by the files that are kept: maintainer scripts' helpers, perl, package building, licences.
unwanted='^(base-files|debianutils|debugedit|dpkg|gcc-12-base|libarchive13|libaudit-common|libdb5.3|libdbus-1-3|libdw1|libelf1'
unwanted+='|libelogind0|libfsverity0|libgdbm.*|libgomp1|libicu.*|liblz4-1|libmagic.*|libmd0|libnettle8|libperl.*|librpmbuild9'
unwanted+='|librpmsign9|libsystemd0|libxml2|.*awk|perl.*|readline-common|rpm2cpio)$'
# The same with dnf: some of these are needed then, others come along that are not.
unwanted_with_dnf='^(adduser|base-files|debconf|debianutils|debugedit|dirmngr|dpkg|gcc-12-base|gnupg.*|gpg-.*|gpgsm|gpgv|init-system-helpers'
unwanted_with_dnf+='|libarchive13|libaudit.*|libcap-ng0|libdb5.3|libdbus-1-3|libfile-find-rule-perl|libgdbm.*'
unwanted_with_dnf+='|libksba8|liblz4-1|libmd0|libnumber-compare-perl|libpam.*|libperl.*|libsemanage.*|libsepol2'
unwanted_with_dnf+='|libsystemd0|libtext-glob-perl|lsb-base|.*awk|media-types|passwd|perl.*|pinentry-.*|python3-dbus|python3-distutils|python3-lib2to3'
unwanted_with_dnf+='|readline-common|rpm2cpio|sqlite3|sysvinit-utils|usrmerge)$'

stop() {
  printf 'make-distribution: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '                   %s\n' "$line" >&2; done
  exit 1
}

debian_arch() {
  case $1 in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) stop "$1 is not an architecture it can make" 'allowed are: x86_64 aarch64' ;;
  esac
}

check_programs() {
  local missing=() program package
  while read -r program package; do
    command -v "$program" >/dev/null || missing+=("$package")
  done <<'T'
apt-get apt
dpkg-deb dpkg
rpmbuild rpm
createrepo_c createrepo-c
flock util-linux
sha256sum coreutils
T
  [ ${#missing[@]} -eq 0 ] || stop "programs are missing" "run as root: apt-get install ${missing[*]}"
}

# --- apt, with folders of its own -----------------------------------------------------------------------------------

# Debian's own sources among those of this machine, whatever files they are written in.
debian_sources() {
  apt-get indextargets --format '$(ORIGIN)|$(CREATED_BY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
    awk -F'|' '$1 == "Debian" && $2 == "Packages" && !seen[$0]++ {
      print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $3, $4, $5 }'
}

apt_of() { # apt_of ARCH PROGRAM ARGUMENT...
  local arch=$1 program=$2 state=$cache/$1/apt
  shift 2
  "$program" -o "APT::Architecture=$(debian_arch "$arch")" -o "APT::Architectures=$(debian_arch "$arch")" \
    -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" \
    -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false "$@"
}

# The packages' files, one a line, to $cache/ARCH/$plan.
plan() {
  local arch=$1 state=$cache/$1/apt
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : >"$state/status"
  debian_sources >"$state/sources.list"
  [ -s "$state/sources.list" ] || stop "apt knows no packages of Debian on this machine" \
    'run as root: apt-get update' \
    'and look whether /etc/apt has a source of Debian 12 (bookworm), component main'
  apt_of "$arch" apt-get -qq -o APT::Update::Error-Mode=any update >"$state/log" 2>&1 || {
    tail -n 5 "$state/log" >&2
    stop "apt could not fetch Debian's list of packages for $arch" 'its last words are above; the network, a proxy?'
  }
  # A failure shows below, by what is missing.
  { apt_of "$arch" apt-get -qq --print-uris install "${wanted[@]}" 2>"$state/log" || true; } |
    awk '{print $2}' | while read -r file; do
      [[ ${file%%_*} =~ $unwanted ]] || printf '%s\n' "$file"
    done | sort >"$cache/$arch/$plan.new"
  grep -q '^bash_' "$cache/$arch/$plan.new" || {
    tail -n 5 "$state/log" >&2
    stop "apt could not work out what ${wanted[*]} need on $arch" 'its last words are above'
  }
  mv "$cache/$arch/$plan.new" "$cache/$arch/$plan"
}

# name_version_arch.deb, a colon of the version as %3a.
download() {
  local arch=$1 debs=$cache/$1/debs file name version missing=()
  mkdir -p "$debs"
  while read -r file; do
    [ -s "$debs/$file" ] && continue
    IFS=_ read -r name version _ <<<"$file"
    missing+=("$name=${version//%3a/:}")
  done <"$cache/$arch/$plan"
  [ ${#missing[@]} -eq 0 ] && return
  (cd "$debs" && apt_of "$arch" apt-get -qq download "${missing[@]}") >"$cache/$arch/apt/log" 2>&1 || {
    tail -n 5 "$cache/$arch/apt/log" >&2
    stop "apt could not fetch the packages for $arch" 'its last words are above' \
      'packages that Debian has replaced meanwhile are found with: --refresh'
  }
}

# --- from a .deb to an RPM --------------------------------------------------------------------------------------------

rpmbuild_quiet() { # rpmbuild_quiet ARCH WORK
  HOME=$2 rpmbuild -bb --quiet --target "$1-linux" --buildroot "$2/buildroot" \
    --define "_topdir $2" --define "_rpmdir $2/rpms" --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define '__os_install_post %{nil}' --define 'debug_package %{nil}' --define '_build_id_links none' \
    --define '_binary_payload w3.zstdio' --define '_buildhost localhost' "$2/package.spec" >"$2/log" 2>&1 || {
    tail -n 10 "$2/log" >&2
    stop "rpmbuild failed on $2/package.spec"
  }
}

# As on every system of today: /bin and its like are links into /usr (package filesystem).
merge_usr() {
  local root=$1 dir
  for dir in bin sbin lib lib64; do
    [ -d "$root/$dir" ] && [ ! -L "$root/$dir" ] || continue
    mkdir -p "$root/usr/$dir"
    cp -a "$root/$dir/." "$root/usr/$dir/"
    rm -rf "${root:?}/$dir"
  done
}

# Moves the built RPM into a folder of its own: the name it got there counts, and it is there whole or not at all.
keep() { # keep WORK FOLDER
  rm -rf "$2"
  mv "$1/rpms" "$2"
  rm -rf "$1"
}

# What an image has no use for, and what would need packages that are left out.
drop_unused() {
  local root=$1
  rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bug,menu,bash-completion,doc-base} \
    "$root"/{boot,dev,home,proc,run,sys,tmp,var/run,var/lock}
  # Scripts for a shell that is not here, and plugins for services that an image has not.
  rm -rf "$root/usr/share/libgcrypt20" "$root"/usr/lib/*/rpm-plugins "$root"/usr/lib/rpm/macros.d/macros.transaction_*
  rm -rf "$root"/usr/lib/python3.*/{idlelib,test,lib2to3,ensurepip,turtledemo,pydoc_data,tkinter,lib-dynload/_dbm.*}
  rm -f "$root"/usr/bin/{rpmbuild,rpmspec,rpmsign,rpm2archive,rpm2cpio,gendiff,rpmgraph,bashbug} \
    "$root"/usr/lib/rpm/{*.pl,*.perl,perl*,*.prov,*.req,find-*,python*,check-*,brp-*,fileattrs/*,rpmdeps,elfdeps,debugedit,sepdebugcrcfix}
}

# Extra lines of a package's spec file.
extras() {
  case $1 in
    bash)
      # The one scriptlet there is: it shows that programs of the new root run while it is made.
      cat <<'T'
Provides: /bin/sh /bin/bash /usr/bin/sh
%post
while read -r shell; do [ "$shell" = /bin/bash ] && exit 0; done 2>/dev/null </etc/shells
echo /bin/bash >>/etc/shells
T
      ;;
    libc6) echo 'Provides: rtld(GNU_HASH)' ;;
    # Its rpmrc and macros, which no soname pulls in.
    rpm) echo 'Requires: rpm-common = %{version}' ;;
    # Modules need other modules, which no soname tells: what Debian says, as far as it is a package here.
    dnf | *python3*)
      { dpkg-deb -f "$2" Pre-Depends; dpkg-deb -f "$2" Depends; } | tr ',' '\n' | sed 's/[|(:].*//; s/ //g' |
        grep -E '^(dnf|lib)?.*python3|^dnf|^libdnf2-common$' | grep -Ev "$unwanted_with_dnf" | sort -u | sed 's/^/Requires: /' || true
      ;;
  esac
}

build_package() { # build_package ARCH DEB FOLDER
  local arch=$1 deb=$2 target=$3 work name version epoch='' release=0
  work=$(mktemp -d "$cache/work.XXXXXX")
  IFS=_ read -r name version _ <<<"$(basename "$deb")"
  case $version in *%3a*) epoch=${version%%%3a*} version=${version#*%3a} ;; esac
  case $version in *-*) release=${version##*-} version=${version%-*} ;; esac
  dpkg-deb -x "$deb" "$work/root"
  merge_usr "$work/root"
  drop_unused "$work/root"
  [ "$name" != bash ] || ln -s bash "$work/root/usr/bin/sh"
  # rpm looks for the sonames of executable files only.
  find "$work/root/usr/lib" -name '*.so*' -type f -exec chmod 755 {} + 2>/dev/null || true
  find "$work/root" -mindepth 1 '(' -type f -o -type l ')' -printf '"/%P"\n' >"$work/files"
  {
    printf 'Name: %s\nVersion: %s\nRelease: %s\n' "$name" "${version//-/_}" "$release"
    [ -z "$epoch" ] || printf 'Epoch: %s\n' "$epoch"
    cat <<T
Summary: $name, from the Debian package
License: Debian
Requires: filesystem
%global __requires_exclude ^(/usr/bin/(perl|python3?|[gm]?awk)|/usr/local/bin/python|/bin/(sh|bash)|/usr/bin/(sh|bash))$
%description
$name as Debian has it, for the example distribution.
%install
rmdir %{buildroot} 2>/dev/null || true
mv "$work/root" %{buildroot}
%files $([ ! -s "$work/files" ] || echo "-f $work/files")
T
    extras "$name" "$deb"
  } >"$work/package.spec"
  # These belong before %description.
  awk '/^(Provides|Requires):/ {provides = provides $0 "\n"; next} {lines[++n] = $0}
       END {for (i = 1; i <= n; i++) {if (lines[i] == "%description") printf "%s", provides; print lines[i]}}' \
    "$work/package.spec" >"$work/sorted" && mv "$work/sorted" "$work/package.spec"
  rpmbuild_quiet "$arch" "$work"
  keep "$work" "$target"
}

# The folders, the links of the merged /usr, users, and where rpm has its database.
build_filesystem() { # build_filesystem ARCH FOLDER
  local arch=$1 target=$2 work root dir
  work=$(mktemp -d "$cache/work.XXXXXX")
  root=$work/root
  mkdir -p "$root"/{boot,dev,etc/rpm,etc/profile.d,home,media,mnt,opt,proc,run,srv,sys,usr/{bin,sbin,lib,lib64,include,libexec,local/bin,share,src},var/{cache,lib/rpm,log,opt,spool}}
  install -d -m 0700 "$root/root"
  install -d -m 1777 "$root/tmp" "$root/var/tmp"
  for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
  ln -s ../run "$root/var/run"
  echo '%_dbpath /var/lib/rpm' >"$root/etc/rpm/macros"
  # Debian's rpm warns at every use that a Debian system wants another tool; this is none.
  printf 'rpm alias %s --force-debian %s\n' --install --install -i --install --upgrade --upgrade -U --upgrade \
    --erase --erase -e --erase >"$root/etc/popt"
  printf '%s\n' 'NAME="Example distribution"' 'ID=example' 'VERSION_ID=1' 'PRETTY_NAME="Example distribution 1"' \
    >"$root/usr/lib/os-release"
  ln -s ../usr/lib/os-release "$root/etc/os-release"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/bash' 'bin:x:1:1:bin:/bin:/usr/sbin/nologin' \
    'daemon:x:2:2:daemon:/usr/sbin:/usr/sbin/nologin' 'nobody:x:65534:65534:nobody:/:/usr/sbin/nologin' >"$root/etc/passwd"
  printf '%s\n' 'root:x:0:' 'bin:x:1:' 'daemon:x:2:' 'tty:x:5:' 'nogroup:x:65534:' >"$root/etc/group"
  {
    find "$root" -mindepth 1 -type d -printf '%%dir %%attr(%m,root,root) "/%P"\n'
    find "$root" -mindepth 1 '(' -type f -o -type l ')' -printf '"/%P"\n'
  } >"$work/files"
  cat >"$work/package.spec" <<T
Name: filesystem
Version: 1
Release: 1
Summary: The folders of the example distribution
License: Apache-2.0
AutoReqProv: no
%description
Folders, links, users, and the place of the RPM database.
%install
rmdir %{buildroot} 2>/dev/null || true
mv "$root" %{buildroot}
%files -f $work/files
T
  rpmbuild_quiet "$arch" "$work"
  keep "$work" "$target"
}

# --- a repository -------------------------------------------------------------------------------------------------------

make_repository() {
  local arch=$1 rpms=$cache/$1/rpms-$key fresh=$out/.$1.new file begun=$SECONDS
  [ -z "$refresh" ] && [ -s "$cache/$arch/$plan" ] && [ "$(cat "$cache/$arch/$plan.key" 2>/dev/null)" = "$wanted_key" ] || {
    plan "$arch"
    echo "$wanted_key" >"$cache/$arch/$plan.key"
  }
  local version
  version=$(cat "$cache/$arch/$plan" <(echo "$key") | sha256sum | cut -c1-16)
  if [ "$(cat "$out/$arch/.complete" 2>/dev/null)" = "$version" ]; then
    printf '%s: %s packages, as before\n' "$arch" "$(find "$out/$arch" -name '*.rpm' | wc -l)"
    return
  fi
  download "$arch"
  mkdir -p "$rpms"
  [ -d "$rpms/filesystem" ] || build_filesystem "$arch" "$rpms/filesystem"
  # One process a package, one package a core.
  while read -r file; do
    [ -d "$rpms/${file%.deb}" ] || printf '%s\0%s\0' "$cache/$arch/debs/$file" "$rpms/${file%.deb}"
  done <"$cache/$arch/$plan" |
    xargs -0 -r -n 2 -P "$(nproc)" "$0" --cache "$cache" --build-package "$arch" ||
    stop "not every package could be built for $arch" 'the first reason is above'
  rm -rf "$fresh"
  mkdir -p "$fresh"
  { echo filesystem; sed 's/\.deb$//' "$cache/$arch/$plan"; } | while read -r name; do
    cp -l "$rpms/$name/"*.rpm "$fresh/" 2>/dev/null || cp "$rpms/$name/"*.rpm "$fresh/"
  done
  createrepo_c --quiet "$fresh"
  echo "$version" >"$fresh/.complete"
  rm -rf "${out:?}/$arch"
  mv "$fresh" "$out/$arch"
  printf '%s: %s packages in %s s\n' "$arch" "$(find "$out/$arch" -name '*.rpm' | wc -l)" "$((SECONDS - begun))"
}

# --- command line -------------------------------------------------------------------------------------------------------

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/osbs/distribution
refresh=
plan=plan
while [ $# -gt 0 ]; do
  case $1 in
    --cache) cache=${2:?--cache needs a folder}; shift 2 ;;
    --refresh) refresh=1; shift ;;
    --dnf) plan=plan-dnf wanted+=(dnf) unwanted=$unwanted_with_dnf; shift ;;
    # Its own call, for one package.
    --build-package) shift; build_package "$1" "$2" "$3"; exit ;;
    -*) stop "unknown option $1" 'usage: scripts/make-distribution.sh [--cache DIR] [--refresh] [--dnf] OUT ARCH...' ;;
    *) break ;;
  esac
done
[ $# -ge 2 ] || stop 'usage: scripts/make-distribution.sh [--cache DIR] [--refresh] [--dnf] OUT ARCH...'
out=$1
shift
for arch in "$@"; do debian_arch "$arch" >/dev/null; done
check_programs
mkdir -p "$cache" "$out"
cache=$(cd "$cache" && pwd)
out=$(cd "$out" && pwd)
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/work.*
key=$(sha256sum "$0" | cut -c1-16)
wanted_key="${wanted[*]} without $unwanted"
for arch in "$@"; do
  mkdir -p "$cache/$arch"
  make_repository "$arch"
done
