using Contracts;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuCommandLineTests
{
    private static readonly Guid Id = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");

    internal static QemuMachine Machine(
        Viommu viommu = Viommu.Smmuv3, Acceleration acceleration = Acceleration.Tcg, string root = "/s", string? initrd = "/i/initrd", bool panic = true, params HeldDevice[] devices) =>
        new(Id, acceleration, 2, GuestMemory.Plain(512), viommu, "/i/kernel", initrd, "console=ttyAMA0 quiet", RuntimeDirectory.Of(root, Id), devices, panic);

    private const string Vmm = "/s/00112233445566778899aabbccddeeff/vmm";

    [Fact]
    public void Build_WhenSmmuAndTwoAccelerators_IsThisLine()
    {
        var line = QemuCommandLine.Build(Machine(devices: [new("edu-0", "edu", null), new("nvme-1", "nvme", Vmm + "/nvme-1.img")]));
        Assert.Equal(
            [
                "-nodefaults", "-no-user-config", "-display", "none",
                "-name", "guest=sandbox-00112233445566778899aabbccddeeff",
                "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
                "-action", "reboot=shutdown,shutdown=pause,panic=pause",
                "-M", "virt,gic-version=3,iommu=smmuv3,memory-backend=ram", "-accel", "tcg", "-cpu", "neoverse-n1",
                "-smp", "2", "-m", "512M", "-object", "memory-backend-memfd,id=ram,size=512M,share=on",
                "-D", Vmm + "/trace.log",
                "-chardev", $"socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
                "-chardev", $"pipe,id=events,path={Vmm}/events", "-mon", "chardev=events,mode=control",
                "-chardev", $"socket,id=serial,path=serial.sock,server=on,wait=off", "-serial", "chardev:serial",
                "-kernel", "/i/kernel", "-initrd", "/i/initrd", "-append", "console=ttyAMA0 quiet",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", $"socket,id=agent,path=agent.sock,server=on,wait=off", "-device", "virtserialport,chardev=agent,name=org.sandbox.agent.0",
                "-device", "pvpanic-pci",
                "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "edu,bus=rp0,dma_mask=0xffffffffffffffff",
                "-device", "pcie-root-port,id=rp1,chassis=2",
                "-drive", $"if=none,id=disk1,format=raw,discard=unmap,file={Vmm}/nvme-1.img", "-device", "nvme,bus=rp1,drive=disk1,serial=nvme-1",
            ],
            line);
    }

    [Theory]
    [InlineData(Viommu.Smmuv3, "virt,gic-version=3,iommu=smmuv3,memory-backend=ram", false)]
    [InlineData(Viommu.Virtio, "virt,gic-version=3,memory-backend=ram", true)]
    [InlineData(Viommu.None, "virt,gic-version=3,memory-backend=ram", false)]
    public void Build_ForEachViommu_GivesTheGuestThatOneAlone(Viommu viommu, string machine, bool virtio)
    {
        var line = QemuCommandLine.Build(Machine(viommu));
        Assert.Equal(machine, line[line.ToList().IndexOf("-M") + 1]);
        Assert.Equal(virtio, line.Contains("virtio-iommu-pci"));
    }

    [Fact]
    public void Build_WhenKvm_UsesTheHostsCpu()
    {
        var line = QemuCommandLine.Build(Machine(acceleration: Acceleration.Kvm)).ToList();
        Assert.Equal(("kvm", "host"), (line[line.IndexOf("-accel") + 1], line[line.IndexOf("-cpu") + 1]));
    }

    [Fact]
    public void Build_WhenNoInitrdAndNoPanicDevice_LeavesThemOut()
    {
        var line = QemuCommandLine.Build(Machine(initrd: null, panic: false));
        Assert.DoesNotContain("-initrd", line);
        Assert.DoesNotContain("pvpanic-pci", line);
    }

    [Fact]
    public void Build_WhenPathHasComma_DoublesItInOptionsOnly()
    {
        var line = QemuCommandLine.Build(Machine(root: "/a,b"));
        Assert.Contains(line, a => a.StartsWith("pipe,id=events,path=/a,,b/", StringComparison.Ordinal));
        Assert.Contains(line, a => a.StartsWith("/a,b/", StringComparison.Ordinal) && a.EndsWith("trace.log", StringComparison.Ordinal));
    }

    [Fact]
    public void Build_WhenDeviceKindIsUnknown_Refuses() =>
        Assert.Throws<ArgumentException>(() => QemuCommandLine.Build(Machine(devices: new HeldDevice("x", "x,drive=evil", null))));
}
