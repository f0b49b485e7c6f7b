#!/usr/bin/env bash
# Builds an arm64 kernel that can share addresses with devices, from Debian's newest kernel source: build.sh OUT_DIR [--emulated-node]
# Guarantees: OUT_DIR (Image, config, manifest.json) appears complete or not at all; the same source, files of this directory and
# compiler build nothing again; every line of config-fragment came true.
# Assumes: the Debian packages of ./packages. Downloads stay in $SANDBOX_CACHE (default: OUT_DIR/../../cache).
# --emulated-node applies emulated-node.patch: for tests under QEMU only, never for a host.
# A crash leaves OUT_DIR as it was; what was unpacked beside it is removed by the next run.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  echo "kernel: $*" >&2
  exit 1
}

case $# in
  1) variant=node ;;
  2) [ "$2" = --emulated-node ] && variant=emulated-node ;;
  *) false ;;
esac || fail "usage: build.sh OUT_DIR [--emulated-node]"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$out/../../cache}")
mkdir -p "$cache" "$(dirname "$out")"
(umask 077 && : >>"$cache/kernel.lock")
exec 9>"$cache/kernel.lock"
flock 9
# Under the lock nobody else has such a directory.
rm -rf "$(dirname "$out")"/.kernel-??????
work=$(mktemp -d "$(dirname "$out")/.kernel-XXXXXX")
trap 'rm -rf "$work"' EXIT

. "$here/../packages/apt.sh"

step() {
  local what=$1 started=$SECONDS
  shift
  echo "kernel: $what ..."
  "$@"
  echo "kernel: $what: $((SECONDS - started)) s"
}

# The machine's own suites, and the newest backports where the mirror has them.
choose_source() {
  apt_config kernel arm64 own 'trixie-backports?'
  package=$(apt-cache search --names-only '^linux-source-[0-9.]+$' | cut -d' ' -f1 | sort -V | tail -n 1)
  [ -n "$package" ] || fail "the mirror has no linux-source package"
  version=$(newest_of "$package")
}

choose_compiler() {
  build=(make -s -C "$work/source" ARCH=arm64)
  [ "$(uname -m)" = aarch64 ] || build+=(CROSS_COMPILE=aarch64-linux-gnu-)
  local compiler=gcc
  [ "$(uname -m)" = aarch64 ] || compiler=aarch64-linux-gnu-gcc
  command -v "$compiler" >/dev/null || fail "no $compiler here: install the package gcc-aarch64-linux-gnu"
  compiler_version=$("$compiler" --version | head -n 1)
  # The same inputs give the same Image.
  export KBUILD_BUILD_USER=sandbox KBUILD_BUILD_HOST=sandbox KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC'
}

unpack_source() {
  local archive
  fetch "$package"
  dpkg-deb --fsys-tarfile "$(deb_of "$package")" | tar -x -C "$work" --wildcards './usr/src/*.tar.xz'
  archive=$(find "$work/usr/src" -name '*.tar.xz')
  mkdir "$work/source"
  tar -x -J -C "$work/source" --strip-components=1 -f "$archive"
  rm -rf "${work:?}/usr"
  if [ "$variant" = emulated-node ]; then
    patch -d "$work/source" -p1 --forward --fuzz=0 <"$here/emulated-node.patch" || fail "the patch of the emulated node does not fit $package $version"
  fi
}

configure() {
  local line option lost=()
  "${build[@]}" KCONFIG_ALLCONFIG="$here/config-fragment" allnoconfig
  "${build[@]}" olddefconfig
  while read -r line; do
    option=${line%%=*}
    case $line in
      CONFIG_*=n) ! grep -q "^$option=" "$work/source/.config" || lost+=("$line") ;;
      CONFIG_*) grep -qxF "$line" "$work/source/.config" || lost+=("$line") ;;
    esac
  done <"$here/config-fragment"
  [ ${#lost[@]} = 0 ] || fail "$package $version does not take these lines of config-fragment: ${lost[*]}"
}

compile() {
  "${build[@]}" -j "$(nproc)" Image >"$work/build.log" 2>&1 || {
    grep -iE -B5 'error|\*\*\*' "$work/build.log" | tail -n 60 >&2
    fail "the kernel did not build"
  }
}

collect() {
  mkdir -m 755 "$work/out"
  cp "$work/source/arch/arm64/boot/Image" "$work/out/Image"
  cp "$work/source/.config" "$work/out/config"
  cat >"$work/out/manifest.json" <<END
{"inputs":"$inputs","variant":"$variant","kernelVersion":"$("${build[@]}" kernelrelease)","sourcePackage":"$package","sourceVersion":"$version","sourceSha256":"$(sha256sum <"$(deb_of "$package")" | cut -d' ' -f1)","compiler":"$compiler_version","imageSha256":"$(sha256sum <"$work/out/Image" | cut -d' ' -f1)"}
END
  chmod 644 "$work/out"/*
  [ ! -e "$out" ] || mv "$out" "$work/previous"
  mv "$work/out" "$out"
}

step "reading the package lists" choose_source
choose_compiler
inputs=$(
  {
    echo "$variant $package $version $compiler_version"
    cat "$here/config-fragment" "$here/emulated-node.patch" "$here/build.sh"
  } | sha256sum | cut -d' ' -f1
)
if grep -qsF "\"inputs\":\"$inputs\"" "$out/manifest.json"; then
  echo "kernel: $out is up to date"
  exit
fi
step "downloading and unpacking $package $version" unpack_source
unset APT_CONFIG
step "configuring" configure
step "compiling" compile
collect
echo "kernel: $out ready after $SECONDS s ($(du -h "$out/Image" | cut -f1) Image)"
