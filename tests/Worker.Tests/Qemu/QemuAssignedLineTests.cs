using Contracts;
using Worker.Hardware.Assignment;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

/// <summary>The whole line of every machine that gets functions of the host.</summary>
public sealed class QemuAssignedLineTests
{
    private const string Vmm = "/s/00112233445566778899aabbccddeeff/vmm", Gpu = "0009:01:00.0", Twin = "0009:02:00.0", Nvme = "0005:01:00.0";

    private static HeldDevice Held(AssignedFunction function) => new(function.Address.ToString(), HeldDevice.Vfio, null) { Assigned = function };

    private static QemuMachine Machine(Viommu viommu, string root, params AssignedFunction[] functions)
    {
        var smmus = viommu == Viommu.Smmuv3 ? QemuSmmu.For(functions) : [];
        return QemuCommandLineTests.Machine(viommu, Acceleration.Kvm, root, devices: [.. functions.Select(Held)]) with { Smmus = smmus, Firmware = smmus.Count > 0 ? "/efi.fd" : null };
    }

    /// <summary>Every kind of line with a function of the host in it, below a root.</summary>
    internal static readonly Dictionary<string, Func<string, QemuMachine>> Machines = new()
    {
        ["iommufd, no viommu"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu)),
        ["container, no viommu"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu, VfioAccess.Container)),
        ["iommufd, virtio-iommu"] = root => Machine(Viommu.Virtio, root, QemuSmmuTests.Function(Gpu), QemuSmmuTests.Function(Nvme, smmu: null)),
        ["one SMMU"] = root => Machine(Viommu.Smmuv3, root, QemuSmmuTests.Function(Gpu), QemuSmmuTests.Function(Twin)),
        ["two SMMUs"] = root => Machine(Viommu.Smmuv3, root, QemuSmmuTests.Function(Nvme, smmu: QemuSmmuTests.Second, ats: false, told: QemuSmmuTests.Told(substreams: 0, output: 44, ril: false)), QemuSmmuTests.Function(Gpu)),
        ["a large window"] = root => Machine(Viommu.Smmuv3, root, QemuSmmuTests.Function(Gpu)) with { HighMmioBytes = 1L << 41 },
        ["huge pages of a node"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu)) with { Memory = new GuestMemory(512, 2048, 1, "64-127") },
        ["huge pages of several nodes"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu)) with { Memory = new GuestMemory(512, 2048, 1, "64-127") },
        ["ordinary pages of a node"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu)) with { Memory = new GuestMemory(512, null, 1, "64-127") },
        ["huge pages of the only node"] = root => Machine(Viommu.None, root, QemuSmmuTests.Function(Gpu)) with { Memory = new GuestMemory(512, 524_288, null, null) },
    };

    private const string Plain = "memory-backend-memfd,id=ram,size=512M,share=on";
    private static readonly string[] Iommufd = ["-object", "iommufd,id=iommufd0,fd=3"];

    private static readonly Dictionary<string, (string Memory, string[] Viommu, string[] Devices)> Golden = new()
    {
        ["iommufd, no viommu"] = (Plain, [], [.. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0"]),
        ["container, no viommu"] = (Plain, [], ["-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0"]),
        ["iommufd, virtio-iommu"] = (Plain, ["-device", "virtio-iommu-pci"],
        [
            .. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0",
            "-device", "pcie-root-port,id=rp1,chassis=2", "-device", "vfio-pci,host=0005:01:00.0,id=acc1,bus=rp1,rombar=0,iommufd=iommufd0",
        ]),
        ["one SMMU"] = (Plain, [],
        [
            .. Iommufd, "-device", "pxb-pcie,id=pcie.1,bus_nr=16,bus=pcie.0",
            "-device", "arm-smmuv3,primary-bus=pcie.1,id=smmu0,accel=on,ats=on,ril=on,oas=48,ssidsize=16",
            "-device", "pcie-root-port,id=rp0,bus=pcie.1,io-reserve=0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0",
            "-device", "pcie-root-port,id=rp1,bus=pcie.1,io-reserve=0,chassis=2", "-device", "vfio-pci,host=0009:02:00.0,id=acc1,bus=rp1,rombar=0,iommufd=iommufd0",
        ]),
        ["two SMMUs"] = (Plain, [],
        [
            .. Iommufd, "-device", "pxb-pcie,id=pcie.1,bus_nr=16,bus=pcie.0",
            "-device", "arm-smmuv3,primary-bus=pcie.1,id=smmu0,accel=on,ats=on,ril=on,oas=48,ssidsize=16",
            "-device", "pxb-pcie,id=pcie.2,bus_nr=44,bus=pcie.0",
            "-device", "arm-smmuv3,primary-bus=pcie.2,id=smmu1,accel=on,ats=off,ril=off,oas=44,ssidsize=0",
            "-device", "pcie-root-port,id=rp0,bus=pcie.2,io-reserve=0,chassis=1", "-device", "vfio-pci,host=0005:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0",
            "-device", "pcie-root-port,id=rp1,bus=pcie.1,io-reserve=0,chassis=2", "-device", "vfio-pci,host=0009:01:00.0,id=acc1,bus=rp1,rombar=0,iommufd=iommufd0",
        ]),
        ["a large window"] = (Plain, [],
        [
            .. Iommufd, "-device", "pxb-pcie,id=pcie.1,bus_nr=16,bus=pcie.0", "-device", "arm-smmuv3,primary-bus=pcie.1,id=smmu0,accel=on,ats=on,ril=on,oas=48,ssidsize=16",
            "-device", "pcie-root-port,id=rp0,bus=pcie.1,io-reserve=0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0",
        ]),
        ["huge pages of a node"] = (Plain + ",hugetlb=on,hugetlbsize=2048K,prealloc=on,host-nodes=1,policy=preferred", [], [.. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0"]),
        ["huge pages of several nodes"] = (Plain + ",hugetlb=on,hugetlbsize=2048K,prealloc=on,host-nodes=1,policy=preferred", [], [.. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0"]),
        ["ordinary pages of a node"] = (Plain + ",host-nodes=1,policy=preferred", [], [.. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0"]),
        ["huge pages of the only node"] = (Plain + ",hugetlb=on,hugetlbsize=524288K,prealloc=on", [], [.. Iommufd, "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "vfio-pci,host=0009:01:00.0,id=acc0,bus=rp0,rombar=0,iommufd=iommufd0"]),
    };

    public static TheoryData<string> MachineNames => [.. Machines.Keys];

    [Theory]
    [MemberData(nameof(MachineNames))]
    public void Build_OfEachAssignedMachine_IsThisLine(string name)
    {
        var (memory, viommu, devices) = Golden[name];
        string[] firmware = Machines[name]("/s").Smmus.Count > 0 ? ["-bios", "/efi.fd"] : [];
        Assert.Equal(
            [
                "-nodefaults", "-no-user-config", "-display", "none",
                "-name", "guest=sandbox-00112233445566778899aabbccddeeff",
                "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
                "-action", "reboot=shutdown,shutdown=pause,panic=pause",
                "-M", "virt,gic-version=3,memory-backend=ram" + (name == "a large window" ? ",highmem-mmio-size=2048G" : ""), "-accel", "kvm", "-cpu", "host",
                "-smp", "2", "-m", "512M", "-object", memory,
                "-D", Vmm + "/trace.log",
                "-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
                "-chardev", $"pipe,id=events,path={Vmm}/events", "-mon", "chardev=events,mode=control",
                "-chardev", "socket,id=serial,path=serial.sock,server=on,wait=off", "-serial", "chardev:serial",
                .. firmware,
                "-kernel", "/i/kernel", "-initrd", "/i/initrd", "-append", "console=ttyAMA0 quiet",
                .. viommu,
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off", "-device", "virtserialport,chardev=agent,name=org.sandbox.agent.0",
                "-device", "pvpanic-pci",
                .. devices,
            ],
            QemuCommandLine.Build(Machines[name]("/s")));
    }

    [Fact]
    public void Build_WhenEmulatedStandsBesideAssigned_GivesEachItsOwnPort()
    {
        var line = QemuCommandLine.Build(QemuCommandLineTests.Machine(Viommu.Virtio, devices: [new("edu-0", "edu", null), Held(QemuSmmuTests.Function(Gpu))]));
        Assert.Equal(["-object", "iommufd,id=iommufd0,fd=3", "-device", "pcie-root-port,id=rp0,chassis=1", "-device", "edu,bus=rp0,dma_mask=0xffffffffffffffff",
            "-device", "pcie-root-port,id=rp1,chassis=2", "-device", "vfio-pci,host=0009:01:00.0,id=acc1,bus=rp1,rombar=0,iommufd=iommufd0"], line.Skip(line.ToList().IndexOf("pvpanic-pci") + 1));
    }

    [Fact]
    public void Build_WhenAHeldFunctionWasNotPrepared_Refuses() =>
        Assert.Throws<ArgumentException>(() => QemuCommandLine.Build(QemuCommandLineTests.Machine(devices: new HeldDevice(Gpu, HeldDevice.Vfio, null))));

    [Fact]
    public void Build_WhenEightSmmus_NumbersTheirBusesApartBelowTheLast()
    {
        var functions = Enumerable.Range(0, 8).Select(n => QemuSmmuTests.Function($"000{n}:01:00.0", smmu: $"smmu3.{n}")).ToArray();
        var numbers = QemuCommandLine.Build(Machine(Viommu.Smmuv3, "/s", functions)).Where(a => a.StartsWith("pxb-pcie", StringComparison.Ordinal))
            .Select(a => int.Parse(a.Split(',').Single(p => p.StartsWith("bus_nr=", StringComparison.Ordinal))[7..], System.Globalization.CultureInfo.InvariantCulture)).ToList();
        Assert.Equal(8, numbers.Count);
        Assert.All(numbers.Zip(numbers.Skip(1).Append(256)), pair => Assert.InRange(pair.Second - pair.First, 28, 256));
    }
}
