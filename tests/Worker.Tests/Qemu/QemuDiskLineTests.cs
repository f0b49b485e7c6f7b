using Contracts;
using Worker.Images;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuDiskLineTests
{
    private const string Vmm = "/s/00112233445566778899aabbccddeeff/vmm";

    private static QemuMachine Machine(string path, DiskFormat format) =>
        QemuCommandLineTests.Machine() with { Kernel = null, Initrd = null, KernelCommandLine = "", Firmware = "/efi.fd", Disk = new ImageDisk(path, format) };

    [Fact]
    public void Build_OfADisk_IsThisLine() => Assert.Equal(
        [
            "-nodefaults", "-no-user-config", "-display", "none",
            "-name", "guest=sandbox-00112233445566778899aabbccddeeff",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-action", "reboot=shutdown,shutdown=pause,panic=pause",
            "-M", "virt,gic-version=3,iommu=smmuv3,memory-backend=ram", "-accel", "tcg", "-cpu", "neoverse-n1",
            "-smp", "2", "-m", "512M", "-object", "memory-backend-memfd,id=ram,size=512M,share=on",
            "-D", Vmm + "/trace.log",
            "-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
            "-chardev", $"pipe,id=events,path={Vmm}/events", "-mon", "chardev=events,mode=control",
            "-chardev", "socket,id=serial,path=serial.sock,server=on,wait=off", "-serial", "chardev:serial",
            "-bios", "/efi.fd",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off", "-device", "virtserialport,chardev=agent,name=org.sandbox.agent.0",
            "-device", "pvpanic-pci",
            "-drive", "if=none,id=root,format=raw,snapshot=on,file.driver=file,file.filename=/i/disk.raw,file.locking=off",
            "-device", "virtio-blk-pci,bus=pcie.0,drive=root,bootindex=0",
            "-blockdev", "driver=vvfat,node-name=seed,dir=seed,label=CIDATA,read-only=on",
            "-device", "virtio-blk-pci,bus=pcie.0,drive=seed",
        ],
        QemuCommandLine.Build(Machine("/i/disk.raw", DiskFormat.Raw)));

    [Fact]
    public void Build_OfAQcow2WithACommaInItsPath_DoublesIt() => Assert.Contains(
        "if=none,id=root,format=qcow2,snapshot=on,file.driver=file,file.filename=/a,,format=raw/disk,file.locking=off", QemuCommandLine.Build(Machine("/a,format=raw/disk", DiskFormat.Qcow2)));
}
