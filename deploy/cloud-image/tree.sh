#!/usr/bin/env bash
# Unpacks Debian packages of another architecture and makes an ext4 file system of them: tree.sh WORK DISK OFFSET KIB UUID
# WORK/debs holds the packages; WORK/root and WORK/unpacked are made here. The file system begins at byte OFFSET of DISK and has KIB KiB.
# Run as root or under fakeroot, which keeps the owners for the file system. No program of a package is run: dpkg unpacks only, and
# scripts that it would run before are laid where it keeps them, for builder/configure to run on the machine that they are for.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
work=$1 disk=$2 offset=$3 kib=$4 uuid=$5
root=$work/root

without_preinst() {
  local deb=$1 name=$2
  dpkg-deb -R "$deb" "$work/unpacked"
  mv "$work/unpacked/DEBIAN/preinst" "$work/preinst/$name.preinst"
  dpkg-deb -Znone -b "$work/unpacked" "$deb" >/dev/null
  rm -rf "$work/unpacked"
}

mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers} "$work/preinst"
: >"$root/var/lib/dpkg/status"
# To this machine's dpkg it is a foreign architecture; on the image's own it is none.
echo arm64 >"$root/var/lib/dpkg/arch"
for deb in "$work"/debs/*.deb; do
  if dpkg-deb --ctrl-tarfile "$deb" | tar -t | grep -x './preinst' >/dev/null; then
    without_preinst "$deb" "$(dpkg-deb -f "$deb" Package Multi-Arch | awk '/^Package:/ { name = $2 } /^Multi-Arch: same/ { name = name ":arm64" } END { print name }')"
  fi
done
dpkg --root="$root" --log=/dev/null --no-triggers --force-architecture,depends,unsafe-io \
  --path-exclude='/usr/share/doc/*' --path-include='/usr/share/doc/*/copyright' --path-exclude='/usr/share/man/*' --path-exclude='/usr/share/locale/*' \
  --unpack "$work"/debs/*.deb
rm "$root/var/lib/dpkg/arch"
install -m 755 "$work"/preinst/* "$root/var/lib/dpkg/info/"
cp -R "$here/rootfs/." "$root/"
mkdir -p "$root/boot/efi"
mkfs.ext4 -q -F -L root -U "$uuid" -E "offset=$offset,root_owner=0:0" -d "$root" "$disk" "${kib}k"
