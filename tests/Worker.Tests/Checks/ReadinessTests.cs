using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Worker.Tests.Hardware;
using Xunit;

namespace Worker.Tests.Checks;

public sealed class ReadinessTests
{
    private static NodeInventory Of(FixtureTree machine)
    {
        using (machine)
            return InventoryReport.Of(machine.Scan(), QemuFacts.None, DateTimeOffset.UnixEpoch);
    }

    [Fact]
    public void Inventory_OfTheEmulatedNode_TellsEachFunctionOnceAndNoBridge()
    {
        var told = Of(FixtureTree.Captured("emulated-node"));
        Assert.Equal(["1234", "1b36", "1af4", "8086", "1b36"], told.Functions.Select(f => f.VendorId));
        Assert.Equal((true, false, null), (told.Functions[2].Capabilities.Ats, told.Functions[2].Capabilities.Pasid, told.Functions[2].Capabilities.PasidBits));
        Assert.Contains("Nesting", told.Smmus.Single().Features!);
        Assert.All(told.Functions, f => Assert.Equal(Origin.Emulated, f.Verdict.Origin));
    }

    [Fact]
    public void Table_OfAFunctionThatCouldNotBeRead_SaysUnknownAndNotNo()
    {
        var lines = ReadinessTable.Lines(Of(Machines.GraceHopperWith(config: new ConfigBytes(0x10DE2342).Express().Build(64)))).ToList();
        var function = Assert.Single(lines, line => line.StartsWith("function", StringComparison.Ordinal));
        Assert.Contains("ats unknown, pasid unknown, pri unknown, flr unknown", function, StringComparison.Ordinal);
        Assert.Contains(lines, line => line.Contains("ConfigSpaceTruncated", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("Nesting", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true, 1, null, true)]
    [InlineData(false, 1, null, false)]
    [InlineData(true, 0, null, false)]
    [InlineData(true, 1, "NoUserPerVm", true)]
    [InlineData(true, 1, "CpuModelMissing", false)]
    public void CanRun_NeedsAVmmRoomAndAnImage(bool vmm, int images, string? problem, bool can)
    {
        var facts = new NodeFacts("arm64", "7.3", "Debian", "Neoverse N1", 8, 16384, vmm ? 8 : 0, 8192, Acceleration.Kvm, "", vmm ? "QEMU 11.1.3" : null, [], true, true, null, "boot",
            problem is null ? [] : [new Failure(problem, "m", "r", DateTimeOffset.UnixEpoch)], null);
        Assert.Equal(can, facts.CanRun(images));
    }
}
