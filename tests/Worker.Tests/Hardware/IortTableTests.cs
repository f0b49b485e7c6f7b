using CsCheck;
using Worker.Hardware;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class IortTableTests
{
    private static PciAddress Address(string text) => PciAddress.TryParse(text, out var address) ? address : throw new ArgumentException(text);

    private static uint? StreamOf(byte[] table, string function) => IortTable.Parse(table)?.StreamOf(Address(function)) is { SmmuBase: IortBytes.SmmuBase } stream ? stream.StreamId : null;

    [Theory]
    [InlineData("0000:00:01.0", 8u)]
    [InlineData("0000:00:1f.7", 255u)]
    [InlineData("0000:01:00.0", null)] // to the ITS; the first mapping ends one too late and reaches it too
    [InlineData("0000:02:00.0", null)]
    [InlineData("0001:00:01.0", null)]
    public void StreamOf_InQemusOwnTable_IsWhereLinuxPutsIt(string function, uint? expected) => Assert.Equal(expected, StreamOf(IortBytes.OfQemu(), function));

    [Theory]
    [InlineData(0x100u, 0xffu, 0x40100u, false, "0009:01:00.0", 0x40100u)]
    [InlineData(0x100u, 0xffu, 0x40100u, false, "0009:01:1f.7", 0x401ffu)]
    [InlineData(0x100u, 0xffu, 0x40100u, false, "0009:02:00.0", null)]
    [InlineData(0x100u, 0xffu, 0x40100u, false, "0009:00:1f.7", null)]
    [InlineData(0x0u, 0x0u, 0x77u, true, "0009:05:00.0", 0x77u)]
    public void StreamOf_ByAMapping_IsMovedByIt(uint first, uint countLessOne, uint output, bool single, string function, uint? expected) =>
        Assert.Equal(expected, StreamOf(IortBytes.OfQemu().WithRoot(9, first, countLessOne, output, IortBytes.SmmuNode, single), function));

    [Fact]
    public void StreamOf_WhereOneMappingEndsTooLate_IsTheNextOnes() =>
        Assert.Equal(0x5000u, StreamOf(IortBytes.OfQemu().WithRoot(9, 0, 0x100, 0, IortBytes.SmmuNode).WithRoot(9, 0x100, 0xff, 0x5000, IortBytes.SmmuNode), "0009:01:00.0"));

    [Fact]
    public void StreamOf_WhenTheFirmwareNamesTwo_IsNone() =>
        Assert.Null(StreamOf(IortBytes.OfQemu().WithRoot(9, 0, 0xffff, 0, IortBytes.SmmuNode).WithRoot(9, 0, 0xffff, 0x10000, IortBytes.SmmuNode), "0009:01:00.0"));

    [Fact]
    public void MonitorsOf_AnSmmu_AreThoseThatNameIt() => Assert.Equal(
        [0x9052000ul, 0x9062000ul],
        IortTable.Parse(IortBytes.OfQemu().WithMonitor(0x9052000, IortBytes.SmmuNode).WithMonitor(0x8000000, IortBytes.RootNode).WithMonitor(0x9062000, IortBytes.SmmuNode))!.MonitorsOf(IortBytes.SmmuBase));

    [Theory]
    [InlineData(4, 10_000u)] // longer than the file
    [InlineData(4, 100u)] // ends within a node
    [InlineData(36, 1_000_000u)] // nodes without end
    [InlineData(40, 0u)]
    [InlineData(40, 0xfffffff0u)]
    [InlineData(48, 0u)] // a node of no length
    [InlineData(168, 0xffffffffu)] // mappings without end
    [InlineData(172, 0xfffffff0u)] // mappings outside of the node
    public void Parse_OfADamagedTable_IsNullAndEnds(int at, uint value) => Assert.Null(IortTable.Parse(IortBytes.OfQemu().Set(at, value)));

    [Fact]
    public void Parse_OfAnyBytes_EndsWithoutAnException() =>
        Gen.Select(Gen.Int[0, 235], Gen.UInt, Gen.Int[0, 236]).Sample((at, value, length) =>
        {
            var table = IortBytes.OfQemu();
            if (at + 4 <= table.Length)
                table.Set(at, value);
            if (IortTable.Parse(table.AsSpan(0, length)) is { } parsed)
            {
                _ = parsed.StreamOf(Address("0000:00:01.0"));
                _ = parsed.MonitorsOf(IortBytes.SmmuBase);
            }
        });
}
