#!/usr/bin/env bash
# Builds a cloud image for arm64 from packages of Debian 13, as a folder of an image (docs/images.md): build.sh OUT_DIR
# It is a disk that UEFI starts: GPT, an EFI system partition with GRUB, an ext4 root with systemd, cloud-init and OpenSSH. dpkg configures
# it on a machine of its own architecture, which QEMU emulates; nothing of it runs on this one.
# Different from Debian's own genericcloud image: fewer packages (./contents), no manuals, translations and documentation; GRUB at the
# removable path only and without shim, so not for Secure Boot; packages of the mirror's trixie alone, and no mirror named to apt;
# the root does not grow with its disk.
# Guarantees: OUT_DIR appears complete or not at all.
# Assumes: the Debian packages of ./packages. Downloads stay in $SANDBOX_CACHE (default: OUT_DIR/../../cache).
# A crash leaves OUT_DIR as it was; the next run removes what was begun.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  echo "cloud image: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: build.sh OUT_DIR"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$out/../../cache}")
mkdir -p "$cache" "$(dirname "$out")"
(umask 077 && : >>"$cache/cloud-image.lock")
exec 9>"$cache/cloud-image.lock"
flock 9
rm -rf "$(dirname "$out")"/.cloud-??????
work=$(mktemp -d "$(dirname "$out")/.cloud-XXXXXX")
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin
root_uuid=$(cat /proc/sys/kernel/random/uuid)

. "$here/../packages/apt.sh"
. "$here/../guest-image/modules.sh"

# Partitions in MiB: the EFI system partition stands first, the root is the rest of it.
readonly disk_mib=2048 efi_start=1 efi_mib=63 root_start=64

step() {
  local what=$1 started=$SECONDS
  shift
  echo "cloud image: $what ..."
  "$@"
  echo "cloud image: $what: $((SECONDS - started)) s"
}

required() {
  apt-cache dumpavail | awk -v RS= '/\nPriority: required\n/ || /\nEssential: yes\n/ { sub(/^Package: /, ""); sub(/\n.*/, ""); print }'
}

download() {
  local packages wanted
  apt_config cloud-image arm64 trixie
  mapfile -t wanted < <(required; sed 's/#.*//; /^ *$/d' "$here/contents")
  packages=$(closure "${wanted[@]}")
  # shellcheck disable=SC2086
  fetch $packages busybox-static
  unpack "$work/busybox" busybox-static
  mkdir "$work/debs"
  local package
  for package in $packages; do cp "$(deb_of "$package")" "$work/debs/"; done
  unset APT_CONFIG
}

# Root first, as Debian numbers them.
partition() {
  truncate -s "${disk_mib}M" "$work/disk.raw"
  sfdisk -q --no-reread --no-tell-kernel "$work/disk.raw" <<END
label: gpt
1: start=${root_start}MiB, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, name=root
2: start=${efi_start}MiB, size=${efi_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=efi
END
  mkfs.vfat -F 16 -n EFI --offset $((efi_start * 2048)) "$work/disk.raw" $((efi_mib * 1024)) >"$work/vfat.log" || { cat "$work/vfat.log" >&2 && return 1; }
}

# The last MiB of the disk holds the second partition table.
fill() {
  local as_owner=()
  [ "$(id -u)" = 0 ] || as_owner=(fakeroot)
  "${as_owner[@]}" "$here/tree.sh" "$work" "$work/disk.raw" $((root_start << 20)) $(((disk_mib - root_start - 1) * 1024)) "$root_uuid" >"$work/tree.log" 2>&1 ||
    { tail -n 40 "$work/tree.log" >&2 && fail "the packages could not be unpacked"; }
}

builder() {
  local machine=$work/machine file
  mkdir -p "$machine"/{bin,dev,modules,proc,sys,target}
  cp "$(find "$work/busybox" -path '*/bin/busybox' -type f)" "$machine/bin/busybox"
  for file in sh cat chroot cp echo insmod ln mkdir mount poweroff rm sync umount; do ln -s busybox "$machine/bin/$file"; done
  cp "$here/builder/init" "$here/builder/configure" "$machine/"
  chmod 755 "$machine/init"
  echo "$root_uuid" >"$machine/root-uuid"
  module_order "$work/root/usr/lib/modules" virtio_pci virtio_blk virtio_rng ext4 vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 | while read -r file; do
    cp "$file" "$machine/modules/"
    echo "/modules/${file##*/}" >>"$machine/modules/order"
  done
  (cd "$machine" && find . -print0 | cpio --null -o --quiet -H newc --owner 0:0 | gzip -n -1) >"$work/builder.gz"
}

# What is lost when this machine crashes is begun anew anyway.
configure() {
  local status=0
  builder
  timeout 3600 qemu-system-aarch64 -name cloud-image -M virt -cpu neoverse-n1 -accel tcg,thread=multi -smp 2 -m 1536 \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$work/console.log" \
    -kernel "$(find "$work/root/boot" -name 'vmlinuz-*')" -initrd "$work/builder.gz" -append "console=ttyAMA0 quiet panic=-1 rdinit=/init" \
    -object rng-random,id=entropy,filename=/dev/urandom -device virtio-rng-pci,rng=entropy,romfile= \
    -drive "file=$work/disk.raw,if=none,id=disk,format=raw,cache=unsafe,discard=unmap" -device virtio-blk-pci,drive=disk,romfile= </dev/null || status=$?
  if [ "$status" != 0 ] || ! grep -q '^cloud image: configured' "$work/console.log"; then
    tail -n 60 "$work/console.log" >&2
    fail "the image could not be configured (status $status)"
  fi
}

compress() {
  mkdir "$work/image"
  qemu-img convert -c -O qcow2 "$work/disk.raw" "$work/image/disk.qcow2"
  cat >"$work/image/image.json" <<END
{"name":"$(basename "$out")","architecture":"arm64","kernelVersion":"$(basename "$work"/root/usr/lib/modules/*)","hasAgent":false,"diskFormat":"qcow2","files":{"disk":{"path":"disk.qcow2","sha256":"$(sha256sum "$work/image/disk.qcow2" | cut -d' ' -f1)","bytes":$(stat -c %s "$work/image/disk.qcow2")}},"builtAt":"$(date -u +%Y-%m-%dT%H:%M:%SZ)"}
END
  chmod 755 "$work/image"
  chmod 644 "$work/image"/*
}

# A running guest keeps the disk that it has open; a new one sees the new folder.
replace() {
  [ ! -e "$out" ] || mv "$out" "$work/previous"
  mv "$work/image" "$out"
}

chmod 755 "$work"
step "downloading Debian's arm64 packages" download
partition
step "unpacking them into a disk" fill
step "configuring them on an emulated machine" configure
step "compressing the disk" compress
replace
echo "cloud image: $out ready after $SECONDS s ($(du -h "$out/disk.qcow2" | cut -f1) disk)"
