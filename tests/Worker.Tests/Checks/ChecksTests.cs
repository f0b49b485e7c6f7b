using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Xunit;

namespace Worker.Tests.Checks;

public sealed class ChecksTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly string[] AllDevices = ["virtio-serial-pci", "virtserialport", "virtio-rng-pci", "pcie-root-port", "edu", "nvme", "virtio-iommu-pci"];

    private static QemuFacts Qemu(string[] devices, params string[] cpus) =>
        QemuFacts.None with { Path = "/q", Version = "7.2", Devices = devices.ToHashSet(), Cpus = cpus.ToHashSet() };

    [Fact]
    public void ParseDevices_ReadsNamesOnly() =>
        Assert.Equal(["edu", "nvme"], QemuProbe.ParseDevices("Misc devices:\nname \"edu\", bus PCI\nname \"nvme\", bus PCI, desc \"name x\"\n").Order());

    [Fact]
    public void ParseProperties_ReadsNamesOnly() =>
        Assert.Equal(["accel", "primary-bus", "x-vpasid-cap-offset"], QemuProbe.ParseProperties("""
            arm-smmuv3 options:
              accel=<bool>           - Enable it. Values are on=<x>. (default: off)
              primary-bus=<link<PCI>>
              x-vpasid-cap-offset=<uint16> - where
            Device 'x=<y>' not found
            """).Order(StringComparer.Ordinal));

    [Fact]
    public void ParseProperties_OfTheVirtMachine_FindsTheSizeOfItsWindow() =>
        Assert.Equal(["highmem-mmio", "highmem-mmio-size"], QemuProbe.ParseProperties("""
            virt-11.1-machine options:
              highmem-mmio-size=<size> - Set the high memory region size for PCI MMIO
              highmem-mmio=<bool>    - Set on/off to enable/disable high memory region for PCI MMIO
            """).Order(StringComparer.Ordinal));

    [Fact]
    public void ParseCpus_ReadsEveryWord() => Assert.Contains("neoverse-n1", QemuProbe.ParseCpus("Available CPUs:\n  max\n  neoverse-n1\n"));

    [Fact]
    public void Problems_WhenAllIsThere_AreNone() =>
        Assert.Empty(NodeChecks.QemuProblems(Qemu(AllDevices, "neoverse-n1"), Acceleration.Tcg, WorkerOptions.DefaultDevices, Now));

    [Fact]
    public void Problems_WhenQemuIsMissing_SayHowToInstallIt()
    {
        var problem = Assert.Single(NodeChecks.QemuProblems(QemuFacts.None, Acceleration.Tcg, WorkerOptions.DefaultDevices, Now));
        Assert.Equal("QemuMissing", problem.Reason);
        Assert.Contains("apt-get install", problem.Remedy, StringComparison.Ordinal);
        Assert.Empty(NodeChecks.Viommus(QemuFacts.None));
        Assert.Null(QemuFacts.None.Has("edu"));
    }

    [Fact]
    public void Problems_WhenTheCpuModelIsMissing_AreSaidUnderTcgOnly()
    {
        Assert.Equal("CpuModelMissing", Assert.Single(NodeChecks.QemuProblems(Qemu(AllDevices), Acceleration.Tcg, WorkerOptions.DefaultDevices, Now)).Reason);
        Assert.Empty(NodeChecks.QemuProblems(Qemu(AllDevices), Acceleration.Kvm, WorkerOptions.DefaultDevices, Now));
    }

    [Fact]
    public void Problems_WhenAModelIsMissing_NameIt() =>
        Assert.Contains(NodeChecks.QemuProblems(Qemu(["edu"], "neoverse-n1"), Acceleration.Tcg, WorkerOptions.DefaultDevices, Now), p => p.Message.Contains("nvme", StringComparison.Ordinal));

    [Fact]
    public void Viommus_WhenVirtioIsMissing_LeaveItOut() =>
        Assert.Equal([Viommu.Smmuv3, Viommu.None], NodeChecks.Viommus(Qemu([])));

    [Fact]
    public void Probe_OnThisHost_IsNeverKvmUnlessTheHostIsArm()
    {
        var (acceleration, reason, _) = AccelerationProbe.Probe(false);
        Assert.NotEmpty(reason);
        if (System.Runtime.InteropServices.RuntimeInformation.OSArchitecture != System.Runtime.InteropServices.Architecture.Arm64)
            Assert.Equal(Acceleration.Tcg, acceleration);
    }

    [Fact]
    public void HostFacts_AreReadFromText()
    {
        Assert.Equal("Debian GNU/Linux 12", HostFacts.OsName("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"));
        Assert.Equal("AMD EPYC", HostFacts.CpuName("processor\t: 0\nmodel name\t: AMD EPYC\n"));
        Assert.Equal("implementer 0x41 part 0xd0c", HostFacts.CpuName("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"));
        Assert.Equal("unknown", HostFacts.CpuName(""));
        Assert.Equal(2, HostFacts.MemoryTotalMib("MemTotal:        2100 kB\nMemFree: 1 kB\n"));
    }

    private static readonly Action<WorkerOptions>[] _wrong =
    [
        o => o.ApiUrl = "", o => o.ApiUrl = "ftp://x", o => o.ApiUrl = "not an address", o => o.TokenFile = "/nowhere/at/all",
        o => o.StateDirectory = "relative", o => o.ImagesDirectory = "", o => o.VcpuOvercommit = 0, o => o.VcpuOvercommit = 1000,
        o => o.MemoryCapacityMib = 1, o => o.ScratchDiskMib = 0, o => o.FirstUser = 0, o => o.UserCount = 0,
        o => o.Devices = [new() { Name = "a", Kind = "gpu", Class = "c" }], o => o.Devices = [new() { Name = "../a", Kind = "edu", Class = "c" }],
        o => o.Devices = [new() { Name = "a,b", Kind = "edu", Class = "c" }], o => o.Devices = [new() { Name = "a", Kind = "edu", Class = "" }],
        o => o.Devices = [new() { Name = "a", Kind = "edu", Class = "c" }, new() { Name = "a", Kind = "nvme", Class = "c" }],
    ];

    public static TheoryData<int> Wrong => [.. Enumerable.Range(0, _wrong.Length)];

    [Theory]
    [MemberData(nameof(Wrong))]
    public void Options_WhenOneIsWrong_AreRefused(int which)
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.Of("token"), "t");
        var options = new WorkerOptions { ApiUrl = "http://127.0.0.1:1", TokenFile = directory.Of("token"), StateDirectory = "/s", ImagesDirectory = "/i" };
        Assert.Empty(options.Problems());
        _wrong[which](options);
        Assert.Single(options.Problems());
    }

    [Theory]
    [InlineData("rw-rw-rw-", "Everybody")]
    [InlineData("rw-rw----", "Group")]
    [InlineData("rw-rw-r--", "Group")]
    [InlineData("rw-r--r--", "OwnerOnly")]
    [InlineData("rw-------", "OwnerOnly")]
    public void AccessOf_KvmsMode_TellsWhoGetsIn(string mode, string access)
    {
        var bits = mode.Aggregate(0, (sum, letter) => sum << 1 | (letter == '-' ? 0 : 1));
        Assert.Equal(access, AccelerationProbe.AccessOf((UnixFileMode)bits).ToString());
    }

    [Theory]
    [InlineData(null, "--clear-groups")]
    [InlineData(104u, "--groups 104")]
    public void Confinement_LeavesNoPrivilege(uint? group, string groups) => Assert.Equal(
        $"setpriv --reuid 1900000000 --regid 1900000000 {groups} --no-new-privs --inh-caps=-all --bounding-set=-all --", string.Join(' ', new Worker.Vms.VmConfinement(1_900_000_000, group).Wrappers()));
}
