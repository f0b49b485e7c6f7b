#!/usr/bin/env bash
# Builds the guest image from Debian's arm64 packages and our agent: build.sh OUT_DIR
# Guarantees: OUT_DIR appears complete or not at all; the same inputs give the same kernel and initrd; safe to run again.
# Assumes: the Debian packages of ./packages and the .NET SDK. Downloads stay in $SANDBOX_CACHE (default: OUT_DIR/../../cache).
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

fail() {
  echo "guest image: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: build.sh OUT_DIR"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$out/../../cache}")
mkdir -p "$cache" "$(dirname "$out")"
# Whoever can open a file can lock it: nobody else can.
(umask 077 && : >>"$cache/lock")
exec 9>"$cache/lock"
flock 9
work=$(mktemp -d "$(dirname "$out")/.building-XXXXXX")
trap 'rm -rf "$work"' EXIT

. "$here/../packages/apt.sh"
. "$here/modules.sh"

step() {
  local what=$1 started=$SECONDS
  shift
  echo "guest image: $what ..."
  "$@"
  echo "guest image: $what: $((SECONDS - started)) s"
}

# Bookworm's own kernel has no virtio-iommu driver; the one of its backports has.
read_lists() {
  local suites=(own)
  [ "$(own_codename)" != bookworm ] || suites+=('bookworm-backports?')
  apt_config guest-image arm64 "${suites[@]}"
  [ -z "$apt_missing" ] || echo "guest image: no $apt_missing on this mirror: a guest will see no virtio-iommu"
}

# Names of the newest kernel and of the packages that hold its image and modules (from 7.3 on they are two).
kernel_packages() {
  local newest
  newest=$(newest_of linux-image-cloud-arm64)
  [ -n "$newest" ] || fail "the mirror has no linux-image-cloud-arm64"
  apt-cache show "linux-image-cloud-arm64=$newest" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/ *(.*//; s/^ *//' | grep -E '^linux-(image|binary|modules)-' ||
    fail "linux-image-cloud-arm64 $newest depends on no kernel"
}

download() {
  local compiler kernel sysroot
  mapfile -t kernel < <(kernel_packages)
  compiler=$(apt-cache depends gcc | sed -n 's/^ *Depends: gcc-\([0-9]*\).*/\1/p' | head -n 1)
  [ -n "$compiler" ] || fail "the mirror has no gcc package to take the version of libgcc from"
  # The agent is linked against the C library and the compiler's own objects.
  sysroot=(libc6 libc6-dev "libgcc-$compiler-dev" libgcc-s1)
  fetch "${kernel[@]}" busybox-static "${sysroot[@]}"
  unpack "$work/kernel" "${kernel[@]}"
  unpack "$work/busybox" busybox-static
  unpack "$work/sysroot" "${sysroot[@]}"
  [ -e "$work/sysroot/lib" ] || ln -s usr/lib "$work/sysroot/lib"
}

# Restored apart from publishing: with -r a restore would rewrite the lock files of the repository.
publish_agent() {
  local project=$repository/worker/GuestAgent/Sandbox.GuestAgent.csproj
  local arguments=(-c Release -r linux-arm64 --no-restore --artifacts-path "$cache/agent" -o "$work/agent" -v quiet -nologo)
  if [ "$(uname -m)" != aarch64 ]; then
    arguments+=("-p:SysRoot=$work/sysroot" -p:LinkerFlavor=lld -p:ObjCopyName=llvm-objcopy)
  fi
  {
    dotnet restore "$project" --artifacts-path "$cache/agent" && dotnet publish "$project" "${arguments[@]}"
  } >"$cache/agent.log" 2>&1 ||
    { cat "$cache/agent.log" >&2; fail "the agent did not build"; }
}

copy_modules() {
  local list=$1 file
  shift
  module_order "$work/kernel" "$@" | while read -r file; do
    cp "$file" "$work/root/lib/sandbox/"
    echo "/lib/sandbox/${file##*/}" >>"$work/root/lib/sandbox/$list"
  done
}

assemble() {
  local root=$work/root file
  mkdir -p "$root"/{bin,dev,etc,lib/sandbox,proc,root,run,sbin,sys,tmp,mnt,usr/bin}
  cp -R "$here/rootfs/." "$root/"
  cp "$(find "$work/busybox" -path '*/bin/busybox' -type f)" "$root/bin/busybox"
  # The applets' names stand in the binary, one after another; this machine may not be able to run it to ask.
  while read -r file; do
    [ -e "$root/sbin/$file" ] || [ "$file" = busybox ] || ln -sf busybox "$root/bin/$file"
  done < <(tr '\0' '\n' <"$root/bin/busybox" | LC_ALL=C sed -n '/^\[\[$/,/^zcat$/p' | grep -E '^[][a-z0-9_.-]+$')
  ln -s ../../bin/busybox "$root/usr/bin/env"
  cp "$work/agent/sandbox-agent" "$root/sbin/sandbox-agent"
  for file in ld-linux-aarch64.so.1 libc.so.6 libm.so.6; do
    cp -L "$(find "$work/sysroot/" -name "$file" ! -type d | head -n 1)" "$root/lib/$file"
  done
  copy_modules early-modules virtio_pci virtio_console nvme
  copy_modules iommu-modules virtio-iommu
  copy_modules probe-modules vfio_iommu_type1 vfio-pci
  chmod -R u+rwX,go+rX,go-w "$root"
  chmod 755 "$root/init" "$root"/sbin/* "$root/bin/busybox"
  chmod 700 "$root/root"
  find "$root" -exec touch -h -d @0 {} +
  (cd "$root" && find . -print0 | LC_ALL=C sort -z |
    cpio --null -o --quiet -H newc --reproducible --owner 0:0 | gzip -n -9) >"$work/image/initrd.gz"
  cp "$(find "$work/kernel/boot" -name 'vmlinuz-*')" "$work/image/kernel"
}

file_entry() {
  printf '{"path":"%s","sha256":"%s","bytes":%s}' "$1" "$(sha256sum "$work/image/$1" | cut -d' ' -f1)" "$(stat -c %s "$work/image/$1")"
}

write_manifest() {
  local version
  version=$(basename "$(find "$work/kernel" -path '*/lib/modules/*' -mindepth 1 -maxdepth 6 -name kernel -type d | head -n 1 | xargs dirname)")
  # A panic resets the machine at once; the VMM is started so that a reset ends it, and tells it from a power-off.
  # Without port drivers a root port raises no interrupts: VFIO's reset of a device behind it is not delayed by hotplug commands,
  # and the only SMMU events are those of the device.
  cat >"$work/image/image.json" <<END
{"name":"$(basename "$out")","architecture":"arm64","kernelVersion":"$version","hasAgent":true,"commandLine":"console=ttyAMA0 quiet panic=-1 pcie_ports=compat","files":{"kernel":$(file_entry kernel),"initrd":$(file_entry initrd.gz)},"builtAt":"$(date -u +%Y-%m-%dT%H:%M:%SZ)"}
END
}

# A running guest keeps the files that it has open; a new one sees the new folder.
replace() {
  chmod 755 "$work/image"
  chmod 644 "$work/image"/*
  [ ! -e "$out" ] || mv "$out" "$work/previous"
  mv "$work/image" "$out"
}

chmod 755 "$work"
mkdir "$work/image"
step "reading the package lists" read_lists
step "downloading and unpacking Debian's arm64 packages" download
unset APT_CONFIG
step "compiling the agent for arm64" publish_agent
step "assembling kernel and initrd" assemble
write_manifest
replace
echo "guest image: $out ready after $SECONDS s ($(du -h "$out/initrd.gz" | cut -f1) initrd)"
