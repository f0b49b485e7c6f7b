#!/usr/bin/env bash
# Builds the root file system of the emulated node, an arm64 host with KVM, QEMU and our worker: build.sh OUT_DIR
# Guarantees: OUT_DIR appears complete or not at all; everything in it can be read by every user.
# Assumes: the Debian packages of ./packages and the .NET SDK. Downloads stay in $SANDBOX_CACHE (default: OUT_DIR/../../cache).
# $SANDBOX_NODE_LKVM may name a kvmtool (lkvm) for arm64, which Debian has no package of.
# A crash leaves OUT_DIR as it was; the next run removes what was begun.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

fail() {
  echo "emulated node: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: build.sh OUT_DIR"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$out/../../cache}")
mkdir -p "$cache" "$(dirname "$out")"
(umask 077 && : >>"$cache/emulated-node.lock")
exec 9>"$cache/emulated-node.lock"
flock 9
rm -rf "$(dirname "$out")"/.root-??????
work=$(mktemp -d "$(dirname "$out")/.root-XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/tree root=$work/root

. "$here/../packages/apt.sh"
. "$here/libraries.sh"

step() {
  local what=$1 started=$SECONDS
  shift
  echo "emulated node: $what ..."
  "$@"
  echo "emulated node: $what: $((SECONDS - started)) s"
}

# One set of packages for both: what runs on the node is linked with the node's own libraries.
download() {
  local packages compiler
  apt_config emulated-node arm64 trixie trixie-backports
  prefer trixie-backports
  compiler=$(apt-cache depends gcc | sed -n 's/^ *Depends: gcc-\([0-9]*\).*/\1/p' | head -n 1)
  [ -n "$compiler" ] || fail "the mirror has no gcc package to take the version of libgcc from"
  packages=$(closure qemu-system-arm qemu-efi-aarch64 util-linux pciutils pci.ids busybox-static libssl3t64 libc6-dev "libgcc-$compiler-dev")
  # shellcheck disable=SC2086
  fetch $packages
  # shellcheck disable=SC2086
  unpack "$tree" $packages
  unset APT_CONFIG
  [ -e "$tree/lib" ] || ln -s usr/lib "$tree/lib"
}

# Restored apart from publishing: with -r a restore would rewrite the lock files of the repository.
publish_worker() {
  local project=$repository/worker/Sandbox.Worker.csproj
  local arguments=(-c Release -p:NativeWorker=true --artifacts-path "$cache/native-worker" -nologo)
  local publish=(-r linux-arm64 --no-restore -o "$work/worker" -v quiet)
  if [ "$(uname -m)" != aarch64 ]; then
    publish+=("-p:SysRoot=$tree" -p:LinkerFlavor=lld -p:ObjCopyName=llvm-objcopy)
  fi
  {
    dotnet restore "$project" -p:NativeWorker=true --artifacts-path "$cache/native-worker" &&
      dotnet publish "$project" "${arguments[@]}" "${publish[@]}"
  } >"$cache/native-worker.log" 2>&1 ||
    { cat "$cache/native-worker.log" >&2; fail "the worker did not build"; }
}

copy_programs() {
  local programs=(qemu-system-aarch64 setpriv taskset prlimit flock lspci setpci) program file found=()
  for program in "${programs[@]}"; do
    file=$(find "$tree/usr/bin" "$tree/usr/sbin" -name "$program" ! -type d | head -n 1)
    [ -n "$file" ] || fail "no package of the closure has $program"
    cp -L "$file" "$root/usr/bin/$program"
    found+=("$file")
  done
  cp "$work/worker/Sandbox.Worker" "$root/usr/sbin/Sandbox.Worker"
  # .NET opens OpenSSL when it needs a digest, without being linked with it.
  for file in libssl.so.3 libcrypto.so.3 ld-linux-aarch64.so.1; do
    cp -L "$(library_file "$tree" "$file")" "$root/usr/lib/aarch64-linux-gnu/$file"
    found+=("$root/usr/lib/aarch64-linux-gnu/$file")
  done
  copy_libraries "$tree" "$root/usr/lib/aarch64-linux-gnu" "${found[@]}" "$root/usr/sbin/Sandbox.Worker"
  ln -s aarch64-linux-gnu/ld-linux-aarch64.so.1 "$root/usr/lib/ld-linux-aarch64.so.1"
  if [ -n "${SANDBOX_NODE_LKVM:-}" ]; then
    cp "$SANDBOX_NODE_LKVM" "$root/usr/bin/lkvm"
    chmod 755 "$root/usr/bin/lkvm"
  fi
}

assemble() {
  local name
  mkdir -p "$root"/{config,dev,etc,log,mnt,proc,root,run,sys,tmp,usr/{bin,sbin,lib/aarch64-linux-gnu,share/{misc,qemu,qemu-efi-aarch64}},var/lib/sandbox}
  for name in bin sbin lib; do ln -s "usr/$name" "$root/$name"; done
  ln -s ../run "$root/var/run"
  ln -s ../tmp "$root/var/tmp"
  cp -R "$here/rootfs/." "$root/"
  cp "$(find "$tree" -path '*/bin/busybox' -type f)" "$root/usr/bin/busybox"
  copy_programs
  # The applets' names stand in the binary, one after another; this machine may not be able to run it to ask.
  while read -r name; do
    [ -e "$root/usr/bin/$name" ] || [ -e "$root/usr/sbin/$name" ] || ln -s busybox "$root/usr/bin/$name"
  done < <(tr '\0' '\n' <"$root/usr/bin/busybox" | LC_ALL=C sed -n '/^\[\[$/,/^zcat$/p' | grep -E '^[][a-z0-9_.-]+$')
  ln -s ../bin/busybox "$root/usr/sbin/init"
  for name in keymaps efi-virtio.rom; do
    cp -RL "$tree/usr/share/qemu/$name" "$root/usr/share/qemu/"
  done
  cp "$tree/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" "$root/usr/share/qemu-efi-aarch64/"
  cp -L "$tree/usr/share/misc/pci.ids" "$root/usr/share/misc/pci.ids"
  chmod -R u+rwX,go+rX,go-w "$root"
  chmod 755 "$root"/usr/bin/busybox "$root"/usr/sbin/*
}

# A running node opens files by their path: who builds for another than OUT_DIR's node gives another OUT_DIR.
replace() {
  [ ! -e "$out" ] || mv "$out" "$work/previous"
  mv "$root" "$out"
}

step "downloading and unpacking Debian's arm64 packages" download
step "compiling the worker for arm64" publish_worker
step "copying programs and their libraries" assemble
replace
echo "emulated node: $out ready after $SECONDS s ($(du -sh "$out" | cut -f1))"
