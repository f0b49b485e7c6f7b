using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>What a node offers of its functions, and why not of the others. One host a line: it differs from a good one in what its name says.</summary>
public sealed class AssignmentRulesTests
{
    private const string Address = "0005:01:00.0", Twin = "0005:02:00.0", Neighbour = "0005:01:00.1";
    private const uint Nvme = 0x144DA80A, NvmeClass = 0x010802;

    private static byte[] Config(int length = PciConfigSpace.Bytes, bool flr = true) => new ConfigBytes(Nvme).Express(flr).Build(length);

    private static FixtureTree One(uint classCode = NvmeClass, byte[]? config = null, int? group = 12, string? resets = "flr bus", string? physfn = null) =>
        new FixtureTree().Function(Address, Nvme, classCode, config ?? Config(), group, resets: resets, physfn: physfn);

    private static FixtureTree With(FixtureTree host, string address, int group, uint classCode = 0x020000) =>
        host.Function(address, 0x15B3101D, classCode, new ConfigBytes(0x15B3101D).Express().Build(), group);

    private static FixtureTree Without(FixtureTree host, string path)
    {
        File.Delete(Path.Combine(host.Tree.Root, path));
        return host;
    }

    private static readonly Dictionary<string, (Func<FixtureTree> Host, string? Reason)> Hosts = new()
    {
        ["nothing wrong"] = (() => One(), null),
        ["bridge"] = (() => One(classCode: 0x060400), "NotAnEndpoint"),
        ["all ones"] = (() => One(config: [.. Enumerable.Repeat((byte)0xFF, 4096)]), "DeviceDoesNotAnswer"),
        ["all ones to an unprivileged reader"] = (() => One(config: [.. Enumerable.Repeat((byte)0xFF, 64)]), "DeviceDoesNotAnswer"),
        ["only 64 bytes"] = (() => One(config: Config(64)), null),
        ["only 64 bytes, and the kernel names no resets"] = (() => One(config: Config(64), resets: null), "NoUsableReset"),
        ["no group"] = (() => One(group: null), "NoIommuGroup"),
        ["group that is not there"] = (() => One(group: null).Link($"sys/bus/pci/devices/{Address}/iommu_group", "../../../../kernel/iommu_groups/77"), "NoIommuGroup"),
        ["direct region"] = (() => One().Text("sys/kernel/iommu_groups/12/reserved_regions", "0x0000000080000000 0x00000000800fffff direct"), "GroupHasDirectRegion"),
        ["region that may be moved"] = (() => One().Text("sys/kernel/iommu_groups/12/reserved_regions", "0x0000000080000000 0x00000000800fffff direct-relaxable"), null),
        ["regions unread"] = (() => Without(One(), "sys/kernel/iommu_groups/12/reserved_regions"), "ReservedRegionsUnread"),
        ["virtual functions"] = (() => One().Link($"sys/bus/pci/devices/{Address}/virtfn0", "../0005:01:00.4"), "VirtualFunctionsActive"),
        ["virtual functions of a neighbour"] = (() => With(One(), Neighbour, 12).Link($"sys/bus/pci/devices/{Neighbour}/virtfn0", "../0005:01:00.4"), "VirtualFunctionsActive"),
        ["is a virtual function"] = (() => One(config: Virtual(), physfn: "0005:01:00.1"), null),
        ["SATA"] = (() => One(classCode: 0x010601), "StorageCannotBeErased"),
        ["SCSI"] = (() => One(classCode: 0x010000), "StorageCannotBeErased"),
        ["SAS"] = (() => One(classCode: 0x010700), "StorageCannotBeErased"),
        ["no storage at all"] = (() => One(classCode: 0x030200), null),
        ["resets unsaid, with FLR"] = (() => One(resets: null), null),
        ["resets unsaid, without FLR"] = (() => One(resets: null, config: Config(flr: false)), "NoUsableReset"),
        ["no reset"] = (() => One(resets: ""), "NoUsableReset"),
        ["reset by power state alone"] = (() => One(resets: "pm"), "NoUsableReset"),
        ["vendor's reset"] = (() => One(resets: "device_specific pm"), null),
        ["bus reset, alone on its bus"] = (() => With(With(One(resets: "pm bus"), "0005:02:00.0", 13), "0006:01:00.0", 14), null),
        ["bus reset, with a sibling of its own group"] = (() => With(One(resets: "bus"), Neighbour, 12), null),
        ["bus reset, with a sibling outside"] = (() => With(One(resets: "bus"), Neighbour, 13), "NoUsableReset"),
        ["CXL bus reset, with a sibling outside"] = (() => With(One(resets: "cxl_bus"), "0005:01:05.0", 13), "NoUsableReset"),
        ["bus reset among others, with a sibling outside"] = (() => With(One(resets: "af_flr bus"), Neighbour, 13), null),
    };

    public static TheoryData<string> HostNames => [.. Hosts.Keys];

    private static byte[] Virtual()
    {
        var config = Config();
        config.AsSpan(0, 4).Fill(0xFF);
        return config;
    }

    private static OfferedFunction[] Offer(FixtureTree host, params PassthroughOptions[] rules)
    {
        using (host)
            return [.. AssignmentRules.Offer(rules, host.Scan(), HostUseScan.Read(host.Tree))];
    }

    private static PassthroughOptions ByIds(string vendor = "144d", string device = "a80a", string name = "nvme") => new() { VendorId = vendor, DeviceId = device, Class = name };

    [Theory]
    [MemberData(nameof(HostNames))]
    public void Offer_OfEachHost_GivesThisReason(string name)
    {
        var offered = Assert.Single(Offer(Hosts[name].Host(), AssignmentHost.Rule(Address)));
        Assert.Equal(Hosts[name].Reason, offered.Refusal?.Reason);
        if (offered.Refusal is { } refusal)
            Assert.Contains(AssignmentReasons.All, r => r.Code == refusal.Reason && r.Remedy == refusal.Remedy);
    }

    [Fact]
    public void Offer_WhenTwoOfAGroupAreNamed_GivesTheFirstAndParksTheOther()
    {
        var offered = Offer(With(One(), Neighbour, 12), AssignmentHost.Rule(Address), AssignmentHost.Rule(Neighbour));
        Assert.Equal([null, "SharesGroup"], offered.Select(o => o.Refusal?.Reason));
        Assert.Equal([Neighbour], offered[0].Parked.Select(p => p.ToString()));
    }

    [Fact]
    public void Offer_WhenTheFirstOfAGroupCannotBeGiven_GivesTheSecond()
    {
        var offered = Offer(With(One(resets: "pm"), Neighbour, 12), AssignmentHost.Rule(Address), AssignmentHost.Rule(Neighbour));
        Assert.Equal(["NoUsableReset", null], offered.Select(o => o.Refusal?.Reason));
    }

    [Fact]
    public void Offer_WhenABridgeIsInTheGroup_LeavesItWithTheHost() =>
        Assert.Empty(Assert.Single(Offer(With(One(), "0005:00:00.0", 12, 0x060400), AssignmentHost.Rule(Address))).Parked);

    [Fact]
    public void Offer_ByIds_TakesEveryTwinAndNothingElse()
    {
        FixtureTree Host() => With(One().Function(Twin, Nvme, NvmeClass, Config(), group: 13), "0007:01:00.0", 14);
        Assert.Equal([Address, Twin], Offer(Host(), ByIds()).Select(o => o.Address));
        Assert.Equal([Address, Twin], Offer(Host(), ByIds("144D", "A80A")).Select(o => o.Address));
        Assert.Empty(Offer(Host(), ByIds(device: "a80b")));
        Assert.Equal([Twin], Offer(Host(), AssignmentHost.Rule(Twin)).Select(o => o.Address));
    }

    [Fact]
    public void Offer_WhenTwoRulesMatch_TakesTheFirst() =>
        Assert.Equal("first", Assert.Single(Offer(One(), ByIds(name: "first"), AssignmentHost.Rule(Address))).Rule.Class);

    [Theory]
    [InlineData("0000:01:00.0", null, null, "gpu", "vfio-pci", true)]
    [InlineData(null, "10de", "2342", "gpu", "nvgrace-gpu-vfio-pci", true)]
    [InlineData(null, "10DE", "2342", "gpu", "hisi_acc_vfio_pci", true)]
    [InlineData("0000:01:00.0", "10de", null, "gpu", "vfio-pci", false)]
    [InlineData("0000:01:00", null, null, "gpu", "vfio-pci", false)]
    [InlineData("0000:01:00.0/../..", null, null, "gpu", "vfio-pci", false)]
    [InlineData(null, "10de", null, "gpu", "vfio-pci", false)]
    [InlineData(null, "0x10", "2342", "gpu", "vfio-pci", false)]
    [InlineData(null, " 10d", "2342", "gpu", "vfio-pci", false)]
    [InlineData(null, null, null, "gpu", "vfio-pci", false)]
    [InlineData("0000:01:00.0", null, null, "", "vfio-pci", false)]
    [InlineData("0000:01:00.0", null, null, "GPU", "vfio-pci", false)]
    [InlineData("0000:01:00.0", null, null, "gpu", "", false)]
    [InlineData("0000:01:00.0", null, null, "gpu", "../nvme", false)]
    [InlineData("0000:01:00.0", null, null, "gpu", "vfio-pci\n", false)]
    public void Problem_OfEachRule_IsThis(string? address, string? vendor, string? device, string name, string driver, bool whole) =>
        Assert.Equal(whole, new PassthroughOptions { Address = address, VendorId = vendor, DeviceId = device, Class = name, Driver = driver }.Problem() is null);

    [Fact]
    public void Problem_OfALongDriver_IsTold() =>
        Assert.Equal((true, false), (new PassthroughOptions { Address = Address, Class = "x", Driver = new string('d', 63) }.Problem() is null, new PassthroughOptions { Address = Address, Class = "x", Driver = new string('d', 64) }.Problem() is null));

    [Theory]
    [InlineData("../../../../kernel/iommu_groups/12/../../../etc")]
    [InlineData("../../../../kernel/iommu_groups/-12")]
    [InlineData("../../../../kernel/iommu_groups/+12")]
    [InlineData("../../../../kernel/iommu_groups/12\n")]
    [InlineData("../../../../kernel/iommu_groups/ 12")]
    [InlineData("../../../../kernel/iommu_groups/..")]
    [InlineData("../../../../kernel/iommu_groups/99999999999")]
    public void Offer_WhenTheGroupsLinkIsATrick_HasNoGroup(string target) =>
        Assert.Equal("NoIommuGroup", Assert.Single(Offer(One(group: null).Text("sys/kernel/iommu_groups/12/reserved_regions", "").Link($"sys/bus/pci/devices/{Address}/iommu_group", target), AssignmentHost.Rule(Address))).Refusal?.Reason);

    [Fact]
    public void Offer_WhenNamesAreTricks_OffersAndTouchesNoneOfThem()
    {
        var host = One().Link($"sys/bus/pci/devices/{Address}/driver", "../../../bus/pci/drivers/..").Link($"sys/bus/pci/devices/{Address}/physfn", "../0005:01:00.1/../../../etc")
            .Link($"sys/bus/pci/devices/{Address}/virtfn0", "../../../../etc/passwd");
        foreach (var name in (string[])["0005:02:00.0\n", "0005:02:00.0 ", "..0005:02:00.0", "0005:02:00.0;reboot"])
            host.Text($"sys/bus/pci/devices/{name}/vendor", "0x144d").Text($"sys/bus/pci/devices/{name}/device", "0xa80a").Text($"sys/bus/pci/devices/{name}/class", "0x010802");
        var offered = Assert.Single(Offer(host, ByIds()));
        Assert.Equal((null, null, null), (offered.Refusal, offered.Function.Driver, offered.Function.PhysicalFunction));
        Assert.Empty(offered.Function.VirtualFunctions);
    }
}
