using CsCheck;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class PciConfigSpaceTests
{
    private const uint Gpu = 0x10DE2342;

    private static ConfigBytes Accelerator() => new ConfigBytes(Gpu).Express().Aer().Acs().Ats(depth: 0, enabled: true).Pri(512).Pasid(20).Sriov(16, 4);

    [Fact]
    public void Parse_WhenComplete_FindsEveryCapability()
    {
        var found = PciConfigSpace.Parse(Accelerator().Build());
        Assert.Equal((ConfigState.Complete, true, Presence.Present), (found.State, found.IsExpress, found.Flr));
        Assert.Equal(new AtsCapability(32, true, true), found.AtsDetail);
        Assert.Equal(new PriCapability(512, false), found.PriDetail);
        Assert.Equal(new PasidCapability(20, true, false, true), found.PasidDetail);
        Assert.Equal(new AcsCapability(0x1F, 0x1D), found.AcsDetail);
        Assert.Equal(new SriovCapability(16, 4, true), found.SriovDetail);
        Assert.Equal(Presence.Present, found.Aer);
    }

    [Fact]
    public void Parse_WhenComplete_TellsWhatIsNotThere()
    {
        var found = PciConfigSpace.Parse(new ConfigBytes(Gpu).Express(flr: false).Aer().Build());
        Assert.Equal((Presence.Absent, Presence.Absent, Presence.Absent, Presence.Absent), (found.Flr, found.Ats, found.Pri, found.Pasid));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(65)]
    [InlineData(256)]
    [InlineData(4095)]
    public void Parse_WhenTruncated_SaysUnknownAndNeverAbsent(int bytes)
    {
        var found = PciConfigSpace.Parse(new ConfigBytes(Gpu).Express(flr: false).Build(bytes));
        Assert.Equal(ConfigState.Truncated, found.State);
        Assert.All((Presence[])[found.Ats, found.Pri, found.Pasid, found.Acs, found.Sriov, found.Aer], p => Assert.Equal(Presence.Unknown, p));
        if (bytes <= 64)
            Assert.Equal(Presence.Unknown, found.Flr);
    }

    [Fact]
    public void Parse_WhenConventional_HasNoExtendedCapabilities()
    {
        var found = PciConfigSpace.Parse(new ConfigBytes(0x123411E8).AdvancedFeatures(flr: true).Build(256));
        Assert.Equal((ConfigState.Complete, false, Presence.Present, Presence.Absent), (found.State, found.IsExpress, found.Flr, found.Pasid));
    }

    [Fact]
    public void Parse_WhenListRunsInACircle_KeepsWhatItFoundAndCallsTheRestUnknown()
    {
        var found = PciConfigSpace.Parse(new ConfigBytes(Gpu).Express().Ats().Looping());
        Assert.Equal((ConfigState.Damaged, Presence.Present, Presence.Unknown), (found.State, found.Ats, found.Pasid));
        var standard = new ConfigBytes(Gpu).Express().Build();
        standard[0x41] = 0x40;
        Assert.Equal(ConfigState.Damaged, PciConfigSpace.Parse(standard).State);
    }

    [Fact]
    public void Parse_WhenFunctionDoesNotAnswer_IsGone() =>
        Assert.Equal((ConfigState.Gone, Presence.Unknown), (PciConfigSpace.Parse(Enumerable.Repeat((byte)0xFF, 4096).ToArray()).State, PciConfigSpace.Parse(Enumerable.Repeat((byte)0xFF, 4096).ToArray()).Ats));

    [Theory]
    [InlineData(PciConfigSpace.Bytes, ConfigState.Complete, Presence.Present)]
    [InlineData(PciConfigSpace.UnprivilegedBytes, ConfigState.Truncated, Presence.Unknown)]
    public void Parse_OfAVirtualFunction_WhoseIdsAreAllOnes_IsNotGone(int bytes, ConfigState state, Presence ats)
    {
        var config = new ConfigBytes(0xFFFFFFFF).Express().Ats().Build(bytes);
        Assert.Equal([0xFF, 0xFF, 0xFF, 0xFF], config[..4]);
        var found = PciConfigSpace.Parse(config);
        Assert.Equal((state, ats), (found.State, found.Ats));
    }

    [Fact]
    public void Parse_OfAnyBytes_EndsAndNeverCallsAbsentWhatItDidNotRead() =>
        Gen.Byte.Array[0, 4096].Sample(bytes =>
        {
            var found = PciConfigSpace.Parse(bytes);
            return found.State == ConfigState.Complete || found.Ats != Presence.Absent || found.IsExpress == false;
        });

    [Theory]
    [InlineData("0000:01:00.0", true)]
    [InlineData("10000:e1:1f.7", true)]
    [InlineData("0000:01:00.8", false)]
    [InlineData("0000:01:20.0", false)]
    [InlineData("000:01:00.0", false)]
    [InlineData("0000:01:00.0/../..", false)]
    [InlineData("0000:01:00.0\n", false)]
    [InlineData("0000:0A:00.0", false)]
    [InlineData("+000:01:00.0", false)]
    [InlineData("../../../etc", false)]
    [InlineData("", false)]
    [InlineData(null, false)]
    public void Address_TakesOnlyWhatTheKernelWrites(string? text, bool valid)
    {
        Assert.Equal(valid, PciAddress.TryParse(text, out var address));
        if (valid)
            Assert.Equal(text, address.ToString());
    }
}
