#!/usr/bin/env bash
# A QEMU that has accelerated SMMUs, for this machine, beside the installed one: qemu.sh OUT_DIR
# Guarantees: OUT_DIR/bin/qemu-system-aarch64 and OUT_DIR/QEMU_EFI.fd appear complete or not at all; nothing is installed; any user
# who can read OUT_DIR can start it, with its own libraries. Where the installed QEMU is as new, it only starts that.
# Assumes: the Debian packages of ./packages. Downloads stay in $SANDBOX_CACHE (default: OUT_DIR/../../cache).
# A crash leaves OUT_DIR as it was; the next run removes what was begun.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  echo "new QEMU: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: qemu.sh OUT_DIR"
out=$(realpath -m "$1")
cache=$(realpath -m "${SANDBOX_CACHE:-$out/../../cache}")
mkdir -p "$cache" "$(dirname "$out")"
(umask 077 && : >>"$cache/qemu.lock")
exec 9>"$cache/qemu.lock"
flock 9
rm -rf "$(dirname "$out")"/.qemu-??????
work=$(mktemp -d "$(dirname "$out")/.qemu-XXXXXX")
trap 'rm -rf "$work"' EXIT

. "$here/../packages/apt.sh"
. "$here/libraries.sh"

has_accelerated_smmu() { "$1" -machine virt -device arm-smmuv3,help 2>/dev/null | grep -q '^ *accel='; }

take() {
  local packages
  apt_config new-qemu "$(dpkg --print-architecture)" trixie trixie-backports
  prefer trixie-backports
  packages=$(closure qemu-system-arm qemu-efi-aarch64)
  # shellcheck disable=SC2086
  fetch $packages
  # shellcheck disable=SC2086
  unpack "$work/tree" $packages
  unset APT_CONFIG
}

assemble() {
  local tree=$work/tree into=$work/out loader file
  mkdir -p "$into"/{bin,lib,share}
  cp "$tree/usr/bin/qemu-system-aarch64" "$into/lib/qemu-system-aarch64"
  copy_libraries "$tree" "$into/lib" "$into/lib/qemu-system-aarch64"
  loader=$(cd "$into/lib" && ls ld-linux*)
  for file in "$tree"/usr/share/qemu/{efi-virtio.rom,keymaps}; do
    cp -RL "$file" "$into/share/"
  done
  cp "$tree/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" "$into/QEMU_EFI.fd"
  cat >"$into/bin/qemu-system-aarch64" <<END
#!/bin/sh
# QEMU of Debian's trixie-backports with its own libraries.
here=\$(dirname -- "\$(readlink -f -- "\$0")")/..
exec "\$here/lib/$loader" --library-path "\$here/lib" "\$here/lib/qemu-system-aarch64" -L "\$here/share" "\$@"
END
}

borrow() {
  local firmware=/usr/share/qemu-efi-aarch64/QEMU_EFI.fd
  mkdir -p "$work/out/bin"
  printf '#!/bin/sh\nexec %q "$@"\n' "$1" >"$work/out/bin/qemu-system-aarch64"
  cp "$firmware" "$work/out/QEMU_EFI.fd"
}

mkdir "$work/out"
installed=$(PATH=$PATH:/usr/bin command -v qemu-system-aarch64 || true)
if [ -n "$installed" ] && has_accelerated_smmu "$installed" && [ -e /usr/share/qemu-efi-aarch64/QEMU_EFI.fd ]; then
  borrow "$installed"
else
  take
  assemble
fi
chmod -R u+rwX,go+rX,go-w "$work/out"
chmod 755 "$work/out/bin/qemu-system-aarch64" "$work/out"
has_accelerated_smmu "$work/out/bin/qemu-system-aarch64" || fail "this QEMU does not start, or has no arm-smmuv3 with accel: $("$work/out/bin/qemu-system-aarch64" --version 2>&1 | head -n 1)"
[ ! -e "$out" ] || mv "$out" "$work/previous"
mv "$work/out" "$out"
echo "new QEMU: $out ready after $SECONDS s ($("$out/bin/qemu-system-aarch64" --version | head -n 1), $(du -sh "$out" | cut -f1))"
