using Contracts;
using Worker.Images;

namespace Worker.Vms.Qemu;

// Pure: the part of QEMU's arguments that starts a guest from a disk.
// The image is opened read-only and never written. QEMU makes the guest's own writes a temporary file in TMPDIR, the VMM's directory, and unlinks it at once:
// it ends with the VMM. A lock on the image, which every VMM may read, would be one that a VMM could hold against all others.
// The seed is a FAT volume that QEMU reads from files (vvfat); its name is relative to the working directory, as those of sockets are.
internal static class QemuDisk
{
    public static IEnumerable<string> Arguments(ImageDisk disk) =>
    [
        "-drive", $"if=none,id=root,format={(disk.Format == DiskFormat.Raw ? "raw" : "qcow2")},snapshot=on,file.driver=file,file.filename={QemuCommandLine.Escape(disk.Path)},file.locking=off",
        "-device", "virtio-blk-pci,bus=pcie.0,drive=root,bootindex=0",
        "-blockdev", $"driver=vvfat,node-name=seed,dir={CloudInitSeed.DirectoryName},label={CloudInitSeed.Label},read-only=on",
        "-device", "virtio-blk-pci,bus=pcie.0,drive=seed",
    ];
}
