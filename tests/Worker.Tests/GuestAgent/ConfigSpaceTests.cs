using System.Buffers.Binary;
using GuestAgent.Probe;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class ConfigSpaceTests
{
    private const ushort Ats = 0x0F, Pri = 0x13, Pasid = 0x1B, Aer = 0x01;

    [Fact]
    public void Parse_WhenExtendedListHasAll_SaysTrueForEach()
    {
        var bytes = Express();
        Link(bytes, 0x100, Aer, 0x148);
        Link(bytes, 0x148, Ats, 0x200);
        Link(bytes, 0x200, Pri, 0xFFC);
        Link(bytes, 0xFFC, Pasid, 0);
        Assert.Equal(new ConfigSpace(true, true, true), ConfigSpace.Parse(bytes));
    }

    [Fact]
    public void Parse_WhenExtendedListEndsWithoutThem_SaysFalse()
    {
        var bytes = Express();
        Link(bytes, 0x100, Aer, 0);
        Assert.Equal(new ConfigSpace(false, false, false), ConfigSpace.Parse(bytes));
    }

    [Fact]
    public void Parse_WhenExtendedSpaceIsEmpty_SaysFalse() =>
        Assert.Equal(new ConfigSpace(false, false, false), ConfigSpace.Parse(Express()));

    [Fact]
    public void Parse_WhenExtendedListLoops_KeepsWhatWasFoundAndDoesNotDenyTheRest()
    {
        var bytes = Express();
        Link(bytes, 0x100, Ats, 0x148);
        Link(bytes, 0x148, Aer, 0x100);
        Assert.Equal(new ConfigSpace(null, true, null), ConfigSpace.Parse(bytes));
    }

    [Theory]
    [InlineData(0x40)]
    [InlineData(0xFC)]
    public void Parse_WhenExtendedListPointsIntoStandardSpace_IsUnknown(int next)
    {
        var bytes = Express();
        Link(bytes, 0x100, Aer, next);
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(bytes));
    }

    [Fact]
    public void Parse_WhenExtendedSpaceReadsAllOnes_IsUnknown()
    {
        var bytes = Express();
        bytes.AsSpan(0x100).Fill(0xFF);
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(bytes));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(64)]
    [InlineData(255)]
    public void Parse_WhenLessThanStandardSpaceIsReadable_IsUnknown(int length) =>
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(Conventional().AsSpan(0, length)));

    [Fact]
    public void Parse_WhenFunctionIsGone_IsUnknown()
    {
        var bytes = new byte[4096];
        bytes.AsSpan().Fill(0xFF);
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(bytes));
    }

    [Fact]
    public void Parse_WhenConventionalPci_SaysFalse() =>
        Assert.Equal(new ConfigSpace(false, false, false), ConfigSpace.Parse(Conventional()));

    [Fact]
    public void Parse_WhenOnlyStandardSpaceOfExpressIsReadable_IsUnknown() =>
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(Express().AsSpan(0, 256)));

    [Theory]
    [InlineData(0x40)]
    [InlineData(0x08)]
    public void Parse_WhenStandardListIsBroken_IsUnknown(byte next)
    {
        var bytes = Conventional();
        bytes[0x41] = next;
        Assert.Equal(new ConfigSpace(null, null, null), ConfigSpace.Parse(bytes));
    }

    [Fact]
    public void Parse_WhenBytesAreRandom_EndsForEveryLength()
    {
        var random = new Random(20261123);
        for (var round = 0; round < 5000; round++)
        {
            var bytes = new byte[round % 4 == 0 ? 4096 : random.Next(0, 4097)];
            random.NextBytes(bytes);
            var parsed = ConfigSpace.Parse(bytes);
            if (bytes.Length < 256)
                Assert.Equal(new ConfigSpace(null, null, null), parsed);
        }
    }

    /// <summary>A conventional function with one capability (MSI) at 0x40.</summary>
    private static byte[] Conventional()
    {
        var bytes = new byte[256];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, 0x1234);
        bytes[0x06] = 0x10;
        bytes[0x34] = 0x40;
        bytes[0x40] = 0x05;
        return bytes;
    }

    private static byte[] Express()
    {
        var bytes = new byte[4096];
        Conventional().CopyTo(bytes, 0);
        bytes[0x41] = 0x50;
        bytes[0x50] = 0x10;
        return bytes;
    }

    private static void Link(byte[] bytes, int at, ushort id, int next) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), (uint)(id | 1 << 16 | next << 20));
}
