using Contracts;
using Worker.Hardware;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class HardwareScanTests
{
    [Fact]
    public void Read_OfTheEmulatedNode_FindsWhatIsInIt()
    {
        using var machine = FixtureTree.Captured("emulated-node");
        var seen = machine.Scan();
        Assert.Equal("Neoverse N1", Assert.Single(seen.Cpus).Name);
        Assert.Equal(2, seen.Cpus[0].Count);
        Assert.Equal(11, seen.Functions.Count);
        Assert.Empty(seen.ForeignNames);
        var smmu = Assert.Single(seen.Smmus);
        Assert.Equal(("smmu3.0x0000000009050000", true, 44), (smmu.Name, smmu.IsSmmuV3, smmu.OutputBits));
        Assert.Equal((true, false, false, false), (smmu.Has(SmmuFeatures.Nesting), smmu.Has(SmmuFeatures.Ats), smmu.Has(SmmuFeatures.Pri), smmu.Has(SmmuFeatures.Stalls)));
        Assert.Equal((true, true), (seen.Kernel.IsOn("IOMMUFD"), seen.Kernel.IsOn("ARM_SMMU_V3_IOMMUFD")));
        Assert.Equal(new Version(7, 3), seen.Kernel.Version);

        PciFunction Of(uint id) => seen.Functions.Single(f => f.Vendor == id >> 16 && f.Device == (id & 0xFFFF));
        var edu = Of(0x123411E8);
        Assert.Equal((false, Presence.Absent, Presence.Absent, "bus"), (edu.Capabilities.IsExpress, edu.Capabilities.Pasid, edu.Capabilities.Flr, edu.ResetMethods![0]));
        var nvme = Of(0x1B360010);
        Assert.Equal((true, Presence.Present, "nvme", smmu.Name), (nvme.Capabilities.IsExpress, nvme.Capabilities.Flr, nvme.Driver, nvme.Iommu));
        Assert.Equal((Presence.Present, Presence.Absent), (Of(0x1AF41041).Capabilities.Ats, Of(0x1AF41041).Capabilities.Pasid));
        Assert.Equal(8, Of(0x808610C9).Capabilities.SriovDetail!.TotalVfs);
        Assert.All(seen.Functions.Where(f => !f.IsBridge), f => Assert.Equal([f.Address], seen.Groups.Single(g => g.Number == f.IommuGroup).Functions));
        Assert.All(seen.Groups, g => Assert.False(g.HasDirectRegion));
    }

    [Fact]
    public void Read_OfAnEmptyTree_IsEmptyAndUnknown()
    {
        using var machine = new FixtureTree();
        var seen = machine.Scan();
        Assert.Equal((0, 0, 0, 0, 0), (seen.Cpus.Count, seen.Functions.Count, seen.Groups.Count, seen.Smmus.Count, seen.Numa.Count));
        Assert.Equal(((bool?)null, false), (seen.Kernel.IsOn("IOMMUFD"), seen.KernelLogReadable));
    }

    [Fact]
    public void Read_WhenTheTreeIsHostile_FollowsNothingAndHarmsNothing()
    {
        using var machine = new FixtureTree();
        machine.Function("0000:01:00.0", 0x10DE2342, 0x030200, new ConfigBytes(0x10DE2342).Express().Build());
        var path = "sys/bus/pci/devices/0000:01:00.0";
        machine.Link($"{path}/driver", "../../../../../../etc/pass wd;rm").Link($"{path}/iommu", "../..").Link($"{path}/iommu_group", "../../not-a-number")
            .Link($"{path}/physfn", "../0000:01:00.0").Text($"{path}/numa_node", "99999999999999999999")
            .Text("sys/bus/pci/devices/..;reboot/vendor", "0x1").Text("sys/bus/pci/devices/0000:02:00.0/vendor", "nonsense")
            .Text("sys/kernel/iommu_groups/../../../escape", "x").Text("sys/kernel/iommu_groups/3/reserved_regions", "0x1 0x2\nfoo\n0x3 0xzz direct\n0x4 0x5 direct");
        var seen = machine.Scan();
        var function = Assert.Single(seen.Functions);
        Assert.Equal((null, null, null, null, null), (function.Driver, function.Iommu, function.IommuGroup, function.PhysicalFunction, function.NumaNode));
        Assert.Equal(["..;reboot"], seen.ForeignNames);
        Assert.Equal([new ReservedRegion(4, 5, "direct")], seen.Groups.Single(g => g.Number == 3).Regions);
    }

    [Fact]
    public void Read_WhenAFunctionVanishesMeanwhile_LeavesItOut()
    {
        using var machine = new FixtureTree();
        machine.Function("0000:01:00.0", 0x10DE2342, 0x030200, new ConfigBytes(0x10DE2342).Express().Build());
        machine.Link("sys/bus/pci/devices/0000:02:00.0", "../../../devices/gone");
        Assert.Equal("0000:01:00.0", Assert.Single(machine.Scan().Functions).Address.ToString());
    }

    [Fact]
    public void Read_OfAVirtualFunction_KnowsItsPhysicalOne()
    {
        using var machine = new FixtureTree();
        machine.Function("0000:01:00.0", 0x15B3101D, 0x020000, new ConfigBytes(0x15B3101D).Express().Sriov(8, 1).Build(), group: 1)
            .Function("0000:01:00.2", 0x15B3101E, 0x020000, new ConfigBytes(0x15B3101E).Express().Ats().Build(), group: 2, physfn: "0000:01:00.0")
            .Link("sys/bus/pci/devices/0000:01:00.0/virtfn0", "../0000:01:00.2");
        var seen = machine.Scan().Functions;
        Assert.Equal(seen[0].Address, seen[1].PhysicalFunction);
        Assert.Equal([seen[1].Address], seen[0].VirtualFunctions);
    }

    [Theory]
    [InlineData("[ 1.0] arm-smmu-v3 9050000.smmuv3: ias 44-bit, oas 48-bit (features 0x00081fff)", 48, 0x81fffu)]
    [InlineData("[ 1.0] arm-smmu-v3 9050000.smmuv3: oas 44-bit (features 0x01088705)", 44, 0x01088705u)]
    [InlineData("6,339,514,-;arm-smmu-v3 9050000.smmuv3: oas 44-bit (features 0x1)\n6,340,515,-;arm-smmu-v3 9050000.smmuv3: oas 48-bit (features 0x2)", 48, 2u)]
    [InlineData("[ 1.0] arm-smmu-v3 other.device: oas 44-bit (features 0x01088705)", null, null)]
    [InlineData("[ 1.0] arm-smmu-v3 9050000.smmuv3: oas 44-bit (features 0xnonsense)", null, null)]
    public void Read_OfSmmus_TakesTheLastLineOfTheLog(string log, int? outputBits, uint? features)
    {
        using var machine = new FixtureTree();
        machine.Smmu("smmu3.0x0000000009050000", "9050000.smmuv3").Says(log);
        var smmu = Assert.Single(machine.Scan().Smmus);
        Assert.Equal((outputBits, (SmmuFeatures?)features), (smmu.OutputBits, smmu.Features));
    }

    [Theory]
    [InlineData(0x410fd0c1ul, "Neoverse N1")]
    [InlineData(0x411fd401ul, "Neoverse V1")]
    [InlineData(0x410fd490ul, "Neoverse N2")]
    [InlineData(0x410fd4f0ul, "Neoverse V2")]
    [InlineData(0x410fd830ul, "Neoverse V3AE")]
    [InlineData(0x410fd840ul, "Neoverse V3")]
    [InlineData(0x410fd8e0ul, "Neoverse N3")]
    [InlineData(0x481fd010ul, "Kunpeng 920")]
    [InlineData(0x6d0fd490ul, "Azure Cobalt 100")]
    [InlineData(0xc00fac30ul, "AmpereOne")]
    [InlineData(0x410fd030ul, null)]
    public void Decode_OfMidr_NamesTheCore(ulong midr, string? name) => Assert.Equal(name, CpuScan.Decode(midr, 1).Name);

    [Fact]
    public void Read_WhenCoresDiffer_GroupsThem()
    {
        using var machine = new FixtureTree();
        machine.Cpus(0x410fd0c1, 3).Text("sys/devices/system/cpu/cpu9/regs/identification/midr_el1", "0x00000000410fd490").Text("sys/devices/system/cpu/cpufreq/x", "1");
        Assert.Equal([("Neoverse N1", 3), ("Neoverse N2", 1)], machine.Scan().Cpus.Select(c => (c.Name, c.Count)));
    }

    [Fact]
    public void Read_OfNumaNodes_TellsMemoryAndHugePages()
    {
        using var machine = new FixtureTree();
        machine.Text("sys/devices/system/node/node1/cpulist", "72-143").Text("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:       503316480 kB\nNode 1 MemFree: 1 kB")
            .Text("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "512").Text("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "500")
            .Text("sys/devices/system/node/nodeX/cpulist", "1").Text("sys/devices/system/node/possible", "0-1");
        var node = Assert.Single(machine.Scan().Numa);
        Assert.Equal((1, "72-143", 491520L), (node.Number, node.Cpus, node.MemoryMib));
        Assert.Equal(new HugePages(2048, 512, 500), Assert.Single(node.HugePages));
    }

    [Fact]
    public void Read_OfHugePages_TellsWhatCouldNotBeRead_AndOfTheHostWhereThereAreNoNumaNodes()
    {
        using var machine = new FixtureTree();
        const string Node = "sys/devices/system/node/node1/hugepages/", Host = "sys/kernel/mm/hugepages/";
        machine.Text(Host + "hugepages-2048kB/nr_hugepages", "9").Text(Host + "hugepages-2048kB/free_hugepages", "8").Text(Host + "hugepages-xkB/nr_hugepages", "1");
        Assert.Equal([new HugePagePool(null, 2048, null, null, "HugePagesUnreadable")], HugePageScan.Read(machine.Tree));
        machine.Text(Host + "hugepages-2048kB/resv_hugepages", "0");
        Assert.Equal([new HugePagePool(null, 2048, 9, 8)], HugePageScan.Read(machine.Tree));
        machine.Text(Node + "hugepages-2048kB/nr_hugepages", "512").Text(Node + "hugepages-2048kB/free_hugepages", "500")
            .Text(Node + "hugepages-1048576kB/nr_hugepages", "4").Text(Node + "hugepages-64kB/nr_hugepages", "many").Text(Node + "hugepages-64kB/free_hugepages", "0")
            .Text(Node + "hugepages-32768kB/nr_hugepages", "1").Text(Node + "hugepages-32768kB/free_hugepages", "2");
        Assert.Equal(
            [new(1, 64, null, null, "HugePagesUnreadable"), new(1, 2048, 512, 500), new(1, 32_768, null, null, "HugePagesUnreadable"), new HugePagePool(1, 1_048_576, null, null, "HugePagesUnreadable")],
            HugePageScan.Read(machine.Tree));
    }

    /// <summary>The kernel counts a page that a process has mapped and not touched as free.</summary>
    [Theory]
    [InlineData("0", 100, 60)]
    [InlineData("70", 30, 60)]
    [InlineData("150", 0, 10)]
    [InlineData("200", 0, 0)]
    public void Read_OfHugePages_TakesOffWhatIsPromisedToOthers(string promised, long first, long second)
    {
        using var machine = new FixtureTree();
        machine.Text("sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", promised);
        foreach (var (node, free) in ((string, string)[])[("node0", "100"), ("node1", "60")])
            machine.Text($"sys/devices/system/node/{node}/hugepages/hugepages-2048kB/nr_hugepages", "100").Text($"sys/devices/system/node/{node}/hugepages/hugepages-2048kB/free_hugepages", free);
        Assert.Equal([new(0, 2048, 100, first), new HugePagePool(1, 2048, 100, second)], HugePageScan.Read(machine.Tree));
    }

    [Theory]
    [InlineData("6.18.3-arm64", true)]
    [InlineData("../../etc/passwd", null)]
    public void Read_OfTheKernel_FallsBackToBootAndKeepsWithinIt(string release, bool? on)
    {
        using var machine = new FixtureTree();
        machine.Text("proc/sys/kernel/osrelease", release).Text("boot/config-6.18.3-arm64", "CONFIG_IOMMUFD=m\n# CONFIG_UACCE is not set").Text("etc/passwd", "CONFIG_IOMMUFD=y");
        Assert.Equal((on, on is null ? null : false), (machine.Scan().Kernel.IsOn("IOMMUFD"), machine.Scan().Kernel.IsOn("UACCE")));
    }

    [Theory]
    [InlineData("proc/sys/kernel/random/boot_id", "0b3c", "0b3c")]
    [InlineData("proc/stat", "cpu 1 2\nbtime 1795487515\nprocesses 3", "btime-1795487515")]
    public void BootId_IsTakenFromWhatThereIs(string path, string content, string expected)
    {
        using var machine = new FixtureTree();
        Assert.Equal(expected, HostFacts.BootIdOf(machine.Text(path, content).Tree));
    }

    [Fact]
    public void Read_OfUacce_TellsWhetherAddressesAreShared()
    {
        using var machine = new FixtureTree();
        machine.Text("sys/class/uacce/hisi_zip-0/flags", "1").Text("sys/class/uacce/hisi_zip-0/algorithms", "zlib\ngzip").Text("sys/class/uacce/hisi_zip-0/available_instances", "256")
            .Link("sys/class/uacce/hisi_zip-0/device", "../../../0000:75:00.0");
        Assert.Equal(new UacceDevice("hisi_zip-0", null, "zlib gzip", true, 256, "0000:75:00.0"), Assert.Single(machine.Scan().Uacce));
    }

    [Fact]
    public void Read_OfThisMachine_NeverFails()
    {
        var seen = HardwareScan.Read(HostTree.Machine, HardwareScan.KernelLog());
        Assert.NotEqual("unknown", seen.Kernel.Release);
        Assert.All(seen.Functions, f => Assert.NotEqual(0xFFFF, f.Vendor));
    }
}
