#!/usr/bin/env bash
# Boots an emulated node, an arm64 host with an SMMU, KVM and four PCI functions, and becomes its QEMU: run.sh BUILT DIR IMAGES PORT
#   BUILT   what ./sandbox built: qemu/, root/, kernel/Image ($SANDBOX_NODE_KERNEL names another Image)
#   DIR     the node's own directory; everything below it is made here
#   IMAGES  guest images
#   PORT    of the API on this machine's 127.0.0.1
# DIR holds: state/ (the node's /var/lib/sandbox, owners and modes in extended attributes), log/worker.log, config/ (its /config: worker.env, written at
# each start; extra.env, with settings that go before those; join.token), nvme.raw, console.log, trace.log (empty until trace events
# are switched on through QMP), pid, and the sockets qmp.sock (QMP) and shell.sock (a root shell on the node, without prompt or echo).
# Guarantees: one QEMU a DIR; it has no rights but those of the user who started it; it ends when the node powers off, resets or panics.
# Assumes: DIR is on a file system with user extended attributes.
# A crash, of the node or of this machine, is a power cut: what the node has synchronised is in state/ and nvme.raw, and the next
# start goes on with it; what it has only written may be lost, as on a disk. Its log is there at once.
set -euo pipefail
umask 077

fail() {
  echo "emulated node: $*" >&2
  exit 1
}

[ $# -eq 4 ] || fail "usage: run.sh BUILT DIR IMAGES PORT"
root=$(realpath "$1/root") qemu=$(realpath "$1/qemu") images=$(realpath "$3") port=$4
kernel=$(realpath "${SANDBOX_NODE_KERNEL:-$1/kernel/Image}")
[ -r "$kernel" ] || fail "there is no kernel $kernel"
[[ $port =~ ^[0-9]{1,5}$ ]] || fail "'$port' is no port"
mkdir -p "$2"
# Sockets are named from here: their names may have 107 bytes.
cd "$2"
exec 9>lock
flock -n 9 || fail "a node runs in $2"
chmod 700 .
mkdir -p state log config
[ -e nvme.raw ] || truncate -s 64M nvme.raw
if [ "$(stat -c %s console.log 2>/dev/null || echo 0)" -gt 8388608 ]; then mv -f console.log console.log.1; fi
cat >config/worker.env <<END
Worker__ApiUrl=http://10.0.2.2:$port
Worker__StateDirectory=/var/lib/sandbox/node
Worker__ImagesDirectory=/var/lib/sandbox/images
Worker__TokenFile=/var/lib/sandbox/node.token
Worker__JoinTokenFile=/config/join.token
Worker__Passthrough__0__VendorId=1234
Worker__Passthrough__0__DeviceId=11e8
Worker__Passthrough__0__Class=edu
Worker__Passthrough__1__VendorId=1b36
Worker__Passthrough__1__DeviceId=0010
Worker__Passthrough__1__Class=nvme
END

# share TAG PATH OPTIONS: in QEMU's options a comma is written twice.
machine=()
share() {
  machine+=(-fsdev "local,id=$1,path=${2//,/,,},$3" -device "virtio-9p-device,fsdev=$1,mount_tag=$1")
}

# Each function behind a root port of its own: each has an IOMMU group of its own.
ports=0
pci_function() {
  machine+=(-device "pcie-root-port,id=port$ports,chassis=$((ports + 1))" -device "$1,bus=port$ports")
  ports=$((ports + 1))
}

share root "$root" security_model=none,readonly=on,multidevs=remap
share config config security_model=none,readonly=on
share images "$images" security_model=none,readonly=on,multidevs=remap
share state state security_model=mapped-xattr
share log log security_model=none
pci_function edu,dma_mask=0xffffffffffffffff
machine+=(-drive "file=nvme.raw,if=none,id=disk,format=raw,discard=unmap")
pci_function nvme,drive=disk,serial=sandbox-node-0
pci_function igb,romfile=
pci_function virtio-net-pci,iommu_platform=on,ats=on,disable-legacy=on,romfile=

echo $$ >pid
exec "$qemu/bin/qemu-system-aarch64" -name emulated-node \
  -M virt,virtualization=on,gic-version=3,iommu=smmuv3 -cpu neoverse-n1 -accel tcg,thread=multi -smp 2 -m "${SANDBOX_NODE_MEMORY_MIB:-4096}" \
  -nodefaults -no-user-config -display none -no-reboot -rtc base=utc \
  -kernel "$kernel" \
  -append "root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 ro console=ttyAMA0 quiet panic=-1 init=/sbin/init ${SANDBOX_NODE_APPEND:-}" \
  -global virtio-mmio.force-legacy=false \
  -chardev file,id=console,path=console.log,append=on -serial chardev:console \
  -qmp unix:qmp.sock,server=on,wait=off -D trace.log \
  -netdev user,id=uplink,ipv6=off -device virtio-net-device,netdev=uplink \
  -chardev socket,id=shell,path=shell.sock,server=on,wait=off -device virtio-serial-device -device virtconsole,chardev=shell \
  -object rng-random,id=entropy,filename=/dev/urandom -device virtio-rng-device,rng=entropy \
  "${machine[@]}"
