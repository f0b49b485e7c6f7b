using Api.Sandboxes;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests;

/// <summary>Which device, beside whom, and how tightly. Tables and properties of the pure rules.</summary>
public sealed class PlacementRulesTests
{
    private static readonly Guid _mine = Guid.NewGuid(), _other = Guid.NewGuid();
    private static readonly Dictionary<string, string> _web = new() { ["app"] = "web" }, _store = new() { ["app"] = "store", ["disk"] = "fast" };

    private static Placement.FreeDevice Edu(string vendor = "1234", string device = "11e8", VerdictClass verdict = VerdictClass.PassthroughOnly, int? numa = null) =>
        new(Guid.NewGuid(), "edu", new HashSet<Viommu> { Viommu.None }, false) { VendorId = vendor, DeviceId = device, Verdict = verdict, NumaNode = numa };

    private static Placement.NodePicture Node(string name, int free = 8, params Placement.FreeDevice[] devices) => new()
    {
        Id = Guid.NewGuid(),
        Name = name,
        Phase = NodePhase.Ready,
        Vmms = new HashSet<Vmm> { Vmm.Qemu },
        Viommus = new HashSet<Viommu> { Viommu.None },
        Images = new HashSet<string> { "guest" },
        VcpuCapacity = 8,
        MemoryCapacityMib = 10_000,
        FreeVcpus = free,
        FreeMemoryMib = 10_000,
        FreeDevices = [.. devices],
    };

    private static Placement.Request Wants(params AcceleratorCount[] accelerators) => new("guest", 1, 128, Viommu.None, accelerators) { Id = Guid.NewGuid(), Project = _mine };

    private static Placement.NodePicture With(Placement.NodePicture node, Guid project, Dictionary<string, string> labels, Dictionary<string, string>? apartFrom = null)
    {
        node.Residents.Add(new(Guid.NewGuid(), project, labels, apartFrom));
        return node;
    }

    /// <summary>Free and held: one letter each. e: 1234:11e8; b: 1234:beef.</summary>
    [Theory]
    [InlineData("", "e", 1, "NoFreeDevice")]
    [InlineData("b", "e", 1, "NoFreeDevice")]
    [InlineData("e", "e", 2, "NoFreeDevice")]
    [InlineData("", "b", 1, "NoDeviceOfThatKind")]
    [InlineData("b", "b", 1, "NoDeviceOfThatKind")]
    [InlineData("b", "e", 2, "NoDeviceOfThatKind")]
    [InlineData("", "", 1, "NotEnoughDevices")]
    [InlineData("b", "e", 3, "NotEnoughDevices")]
    public void Refusal_SaysToWaitForDevicesOnlyWhereThoseInUseWouldDo(string free, string held, int count, string reason)
    {
        var node = Node("n", devices: Of(free));
        node.HeldDevices.AddRange(Of(held));
        Assert.Equal(reason, Placement.Refusal(Wants(new AcceleratorCount("edu", count, "1234", "11e8", null)), node));

        static Placement.FreeDevice[] Of(string letters) => [.. letters.Select(letter => letter == 'e' ? Edu() : Edu(device: "beef"))];
    }

    /// <summary>Of devices 1234:11e8 that are passed through, 1234:beef that a guest shares addresses of present memory with, and one that the node could not judge.</summary>
    [Theory]
    [InlineData(1, null, null, null, null)]
    [InlineData(2, "1234", "11e8", null, null)]
    [InlineData(1, "1234", "beef", null, null)]
    [InlineData(2, "1234", "beef", null, "NoDeviceOfThatKind")]
    [InlineData(1, "10de", null, null, "NoDeviceOfThatKind")]
    [InlineData(1, null, null, VerdictClass.GuestSvaPrefaultOnly, null)]
    [InlineData(2, null, null, VerdictClass.GuestSvaPrefaultOnly, "VerdictTooLow")]
    [InlineData(1, null, null, VerdictClass.GuestSvaDeviceFaults, "VerdictTooLow")]
    [InlineData(1, "1234", "11e8", VerdictClass.GuestSvaPrefaultOnly, "VerdictTooLow")]
    [InlineData(3, null, null, VerdictClass.PassthroughOnly, null)]
    [InlineData(4, null, null, VerdictClass.PassthroughOnly, "VerdictTooLow")]
    [InlineData(5, null, null, null, "NotEnoughDevices")]
    public void Refusal_ByVendorDeviceAndVerdict(int count, string? vendor, string? device, VerdictClass? verdict, string? reason)
    {
        var wanted = new AcceleratorCount("edu", count, vendor, device, verdict);
        var node = Node("n", devices: [Edu(), Edu(verdict: VerdictClass.HostSvaStall), Edu(device: "beef", verdict: VerdictClass.GuestSvaPrefaultOnly), Edu(device: "0000", verdict: VerdictClass.Unknown)]);
        Assert.Equal(reason, Placement.Refusal(Wants(wanted), node));
        if (reason is null) Assert.All(Assert.IsType<Placement.Placed>(new PlacementFleet([node]).Choose(Wants(wanted))).Devices, d => Assert.True(d.IsOfKind(wanted) && d.IsJudged(wanted)));
    }

    /// <summary>Devices by their NUMA nodes; x: one that the host does not say.</summary>
    [Theory]
    [InlineData(NumaLocality.Required, 2, "01", "NumaSplit")]
    [InlineData(NumaLocality.Required, 2, "0x", "NumaSplit")]
    [InlineData(NumaLocality.Required, 1, "x", "NumaSplit")]
    [InlineData(NumaLocality.Required, 2, "010", null)]
    [InlineData(NumaLocality.Required, 2, "00011", null)]
    [InlineData(NumaLocality.Preferred, 2, "01", null)]
    [InlineData(NumaLocality.Preferred, 2, "011", null)]
    [InlineData(NumaLocality.Any, 2, "01", null)]
    public void Choose_ByNumaLocality(NumaLocality wanted, int count, string places, string? reason)
    {
        var devices = places.Select(p => Edu(numa: p == 'x' ? null : p - '0')).ToArray();
        var result = new PlacementFleet([Node("n", devices: devices)]).Choose(Wants(new AcceleratorCount("edu", count)) with { Numa = wanted });
        Assert.Equal(reason, (result as Placement.Refused)?.Reason);
        if (result is not Placement.Placed placed || wanted == NumaLocality.Any) return;
        var possible = devices.Where(d => d.NumaNode is not null).GroupBy(d => d.NumaNode).Any(g => g.Count() >= count);
        Assert.Equal(possible ? 1 : 2, placed.Devices.Select(d => d.NumaNode).Distinct().Count());
    }

    [Theory]
    [InlineData(PlacementStrategy.Spread, "empty")]
    [InlineData(PlacementStrategy.Pack, "nearly")]
    public void Choose_ByStrategy(PlacementStrategy strategy, string node) =>
        Assert.Equal(node, Assert.IsType<Placement.Placed>(new PlacementFleet([Node("half", 4), Node("full", 0), Node("empty"), Node("nearly", 1)]).Choose(Wants() with { Strategy = strategy })).Node.Name);

    [Fact]
    public void Choose_WithOthers_TakesTheirNodeOnly_AndNotThoseOfAnotherProject()
    {
        List<Placement.NodePicture> fleet() => [With(Node("foreign"), _other, _store), With(Node("mine", 2), _mine, _store), Node("empty")];
        Assert.Equal("mine", Assert.IsType<Placement.Placed>(new PlacementFleet(fleet()).Choose(Wants() with { With = _store })).Node.Name);
        Assert.Equal("AffinityUnmet", Assert.IsType<Placement.Refused>(new PlacementFleet(fleet()).Choose(Wants() with { With = _web })).Reason);
        // The first of its kind founds a place, the second follows it.
        var founded = new PlacementFleet(fleet());
        var first = Assert.IsType<Placement.Placed>(founded.Choose(Wants() with { With = _web, Labels = _web }));
        Assert.Equal(first.Node.Name, Assert.IsType<Placement.Placed>(founded.Choose(Wants() with { With = _web, Labels = _web, Strategy = PlacementStrategy.Pack })).Node.Name);
    }

    [Fact]
    public void Choose_ApartFromOthers_HoldsBothWays_WithinAProject()
    {
        Assert.Equal("AntiAffinity", Placement.Refusal(Wants() with { ApartFrom = _web }, With(Node("n"), _mine, _web)));
        Assert.Equal("AntiAffinity", Placement.Refusal(Wants() with { Labels = _web }, With(Node("n"), _mine, _store, _web)));
        Assert.Null(Placement.Refusal(Wants() with { ApartFrom = _web, Labels = _web }, With(Node("n"), _other, _web, _web)));
        Assert.Null(Placement.Refusal(Wants() with { ApartFrom = _store }, With(Node("n"), _mine, _web)));
        // One alike was refused just before; the label is what differs.
        var fleet = new PlacementFleet([With(Node("n"), _mine, _store, _web)]);
        Assert.IsType<Placement.Refused>(fleet.Choose(Wants() with { Labels = _web }));
        Assert.IsType<Placement.Placed>(fleet.Choose(Wants() with { Labels = _store }));
    }

    /// <summary>The indexed fleet refuses exactly what every node refuses, and of those that do not it takes one with the most free vCPUs, or the fewest.</summary>
    [Fact]
    public void Choose_AgreesWithEveryNodeLookedAt() => Gen.Select(
        Gen.Select(Gen.Int[0, 8], Gen.Int[0, 3], Gen.Int[0, 3]).Array[1, 6],
        Gen.Select(Gen.Int[1, 5], Gen.Int[0, 3], Gen.Bool, Gen.Int[0, 3], Gen.Int[0, 3]).Array[1, 15]).Sample((nodes, wanted) =>
    {
        var fleet = nodes.Select((n, i) => Node($"n{i}", n.Item1, [.. Enumerable.Range(0, n.Item2).Select(d => Edu(verdict: d == 0 ? VerdictClass.GuestSvaPrefaultOnly : VerdictClass.PassthroughOnly))])).ToList();
        for (var i = 0; i < fleet.Count; i++)
            if (nodes[i].Item3 < 2) With(fleet[i], _mine, nodes[i].Item3 == 0 ? _web : _store);
        var indexed = new PlacementFleet(fleet);
        foreach (var (vcpus, devices, pack, apart, label) in wanted)
        {
            var request = new Placement.Request("guest", vcpus, 128, Viommu.None, devices == 0 ? [] : [new("edu", devices, MinVerdict: devices == 1 ? VerdictClass.GuestSvaPrefaultOnly : null)])
            {
                Id = Guid.NewGuid(),
                Project = _mine,
                Strategy = pack ? PlacementStrategy.Pack : PlacementStrategy.Spread,
                ApartFrom = apart == 0 ? _web : apart == 1 ? _store : null,
                Labels = label == 0 ? _web : label == 1 ? _store : [],
            };
            var taking = fleet.Where(n => Placement.Refusal(request, n) is null).ToDictionary(n => n.Id, n => n.FreeVcpus);
            var result = indexed.Choose(request);
            Assert.Equal(taking.Count > 0, result is Placement.Placed);
            if (result is Placement.Placed placed) Assert.Equal(pack ? taking.Values.Min() : taking.Values.Max(), taking[placed.Node.Id]);
        }
    });
}
