using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Xunit;

namespace Worker.Tests.Simulated;

/// <summary>Where each field lies, in words written out by hand after IHI 0070 (4, 5, 7.3, 8) and DDI 0487 (D8.3).</summary>
public sealed class EncodingsTests
{
    private const ulong Origin = 0x8_0000_0000;

    private static readonly StreamTableEntry Nested = new(
        true, StreamConfig.Nested, 0x1_2345_6780, 5, DefaultSubstream.Substream0, true, true, 0xBEEF, 48, 12, 0x8_1234_5000, true);

    [Fact]
    public void Ste_OfNestedStages_HasEachFieldInItsPlace()
    {
        var memory = new PhysicalMemory(Origin, 16);
        Nested.Write(memory, Origin);
        Assert.Equal(
            [0x2800_0001_2345_678FUL, 0x1800_0002UL, 0x042D_0090_0000_BEEFUL | (1UL << 51), 0x8_1234_5000UL],
            (ulong[])[memory.Read(Origin), memory.Read(Origin + 8), memory.Read(Origin + 16), memory.Read(Origin + 24)]);
        Assert.True(StreamTableEntry.TryRead(memory, Origin, out var read));
        Assert.Equal(Nested, read);
    }

    [Theory]
    [InlineData(0b000)]
    [InlineData(0b100)]
    [InlineData(0b101)]
    [InlineData(0b110)]
    [InlineData(0b111)]
    public void Ste_OfEachConfig_ComesBack(int config)
    {
        var memory = new PhysicalMemory(Origin, 16);
        var ste = Nested with { Config = (StreamConfig)config, Stage2Shift = 16, Stage2InputBits = 40, Ats = false, StallDisabled = false, Default = DefaultSubstream.Terminate };
        ste.Write(memory, Origin + 64);
        Assert.Equal((ulong)config, (memory.Read(Origin + 64) >> 1) & 7);
        Assert.True(StreamTableEntry.TryRead(memory, Origin + 64, out var read));
        Assert.Equal((ste.Config, ste.HasStage1, ste.HasStage2, 0xBEEF), (read.Config, read.HasStage1, read.HasStage2, read.Vmid));
        if (ste.HasStage2)
            Assert.Equal((40, 16), (read.Stage2InputBits, read.Stage2Shift));
    }

    [Fact]
    public void Cd_HasEachFieldInItsPlace()
    {
        var cd = new ContextDescriptor(true, 0xCAFE, 0x4567_8000, 16, 48, true, true, true, false);
        var (word0, word1, word2, word3) = cd.Encode();
        // T0SZ 16, TG0 64 KiB, EPD1, V, IPS 48 bits, AFFD, AA64, S, R, A, ASET, ASID.
        Assert.Equal(16UL | (1UL << 6) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 35) | (1UL << 41) | (1UL << 44) | (1UL << 45) | (1UL << 46) | (1UL << 47) | (0xCAFEUL << 48), word0);
        Assert.Equal((0x4567_8000UL, 0UL, 0xFFUL), (word1, word2, word3));
        Assert.Equal(cd, ContextDescriptor.Decode(word0, word1));
        Assert.True(ContextDescriptor.IsLegal(word0));
        Assert.False(ContextDescriptor.IsLegal(word0 & ~(1UL << 41)));
        Assert.False(ContextDescriptor.IsLegal(word0 | (2UL << 6) & ~(1UL << 6)));
        Assert.False(ContextDescriptor.IsLegal(word0 & ~0x3FUL));
    }

    [Theory]
    [InlineData(Permissions.Read, 0x0060_0000_1234_5FC3UL)]
    [InlineData(Permissions.Read | Permissions.Write, 0x0060_0000_1234_5F43UL)]
    [InlineData(Permissions.Read | Permissions.Execute, 0x0020_0000_1234_5FC3UL)]
    [InlineData(Permissions.All, 0x0020_0000_1234_5F43UL)]
    internal void Page_OfStage1_HasItsBits(Permissions permissions, ulong word)
    {
        var page = Descriptor.Page(0x1234_5000, permissions);
        Assert.Equal(word, page);
        Assert.Equal((permissions, 0x1234_5000UL), (Descriptor.Stage1Permissions(page), Descriptor.AddressOf(page, 12)));
        Assert.Equal(Permissions.None, Descriptor.Stage1Permissions(page & ~Descriptor.Unprivileged));
    }

    [Theory]
    [InlineData(Permissions.None, 0x0040_0000_1234_573FUL)]
    [InlineData(Permissions.Read, 0x0040_0000_1234_577FUL)]
    [InlineData(Permissions.Read | Permissions.Write, 0x0040_0000_1234_57FFUL)]
    [InlineData(Permissions.All, 0x0000_0000_1234_57FFUL)]
    internal void Page_OfStage2_HasItsBits(Permissions permissions, ulong word)
    {
        Assert.Equal(word, Descriptor.Stage2(0x1234_5000, permissions));
        Assert.Equal(permissions, Descriptor.Stage2Permissions(word));
    }

    [Fact]
    public void Block_AndTable_DifferInBitOne()
    {
        Assert.Equal(0b01UL, Descriptor.Block(Descriptor.Page(0x20_0000, Permissions.All)) & 3);
        Assert.Equal(0x8000_3UL, Descriptor.Table(0x8000_0));
        Assert.Equal(0x1_0000UL, Descriptor.AddressOf(0x1_F000, 16));
    }

    [Fact]
    public void Event_OfAStalledWrite_HasEachFieldInItsPlace()
    {
        var record = new EventRecord(EventType.Permission, 0xABCD, 0x12345, 0x77, false, true, FaultClass.Input, 0x7F00_0000_1234, 0x4000_5678);
        var words = new ulong[EventRecord.Words];
        record.Encode(words);
        Assert.Equal([0x0000_ABCD_1234_5813UL, 0x77UL | (1UL << 31) | (1UL << 39) | (2UL << 40), 0x7F00_0000_1234UL, 0x4000_5000UL], words);
        Assert.Equal(record with { Intermediate = 0x4000_5000 }, EventRecord.Decode(words));
    }

    [Fact]
    public void Event_OfAReadWithoutPasid_ComesBack()
    {
        var record = new EventRecord(EventType.StreamDisabled, 3, -1, -1, true, false, FaultClass.ContextDescriptor, 0x1000, 0);
        var words = new ulong[EventRecord.Words];
        record.Encode(words);
        Assert.Equal([0x0000_0003_0000_0006UL, 1UL << 35, 0x1000UL, 0UL], words);
        Assert.Equal(record, EventRecord.Decode(words));
    }

    [Theory]
    [InlineData(EventType.BadStreamId, 0x02, "C_BAD_STREAMID")]
    [InlineData(EventType.SteFetch, 0x03, "F_STE_FETCH")]
    [InlineData(EventType.BadSte, 0x04, "C_BAD_STE")]
    [InlineData(EventType.BadAtsRequest, 0x05, "F_BAD_ATS_TREQ")]
    [InlineData(EventType.StreamDisabled, 0x06, "F_STREAM_DISABLED")]
    [InlineData(EventType.BadSubstreamId, 0x08, "C_BAD_SUBSTREAMID")]
    [InlineData(EventType.CdFetch, 0x09, "F_CD_FETCH")]
    [InlineData(EventType.BadCd, 0x0A, "C_BAD_CD")]
    [InlineData(EventType.WalkExternalAbort, 0x0B, "F_WALK_EABT")]
    [InlineData(EventType.Translation, 0x10, "F_TRANSLATION")]
    [InlineData(EventType.AddressSize, 0x11, "F_ADDR_SIZE")]
    [InlineData(EventType.Access, 0x12, "F_ACCESS")]
    [InlineData(EventType.Permission, 0x13, "F_PERMISSION")]
    internal void Event_OfEachType_HasTheSpecificationsNumberAndName(EventType type, int number, string name) => Assert.Equal((number, name), ((int)type, EventRecord.NameOf(type)));

    [Fact]
    public void PageRequest_HasEachFieldInItsPlace()
    {
        var request = new PageRequest(0xABCD, 0x12345, 0x1F3, true, true, true, 0x7F00_0000_1000);
        var words = new ulong[PageRequest.Words];
        request.Encode(words);
        Assert.Equal([0xF001_2345_0000_ABCDUL, 0x7F00_0000_11F3UL], words);
        Assert.Equal(request, PageRequest.Decode(words));
        var other = new PageRequest(1, -1, 0, false, true, false, 0);
        other.Encode(words);
        Assert.Equal([(1UL << 60) | 1, 0UL], words);
        Assert.Equal(other, PageRequest.Decode(words));
    }

    public static TheoryData<ulong, ulong, ulong, ulong> Commands => new()
    {
        { Command.Ste(9).Word0, Command.Ste(9).Word1, 0x9_0000_0003, 1 },
        { Command.AllConfiguration().Word0, Command.AllConfiguration().Word1, 0x04, 31 },
        { Command.Cd(9, 5).Word0, Command.Cd(9, 5).Word1, 0x9_0000_5005, 1 },
        { Command.AllCds(9).Word0, Command.AllCds(9).Word1, 0x9_0000_0006, 0 },
        { Command.TlbiByAsid(7, 0x101).Word0, Command.TlbiByAsid(7, 0x101).Word1, 0x0101_0007_0000_0011, 0 },
        { Command.TlbiByAddress(7, 0x101, 0x5123).Word0, Command.TlbiByAddress(7, 0x101, 0x5123).Word1, 0x0101_0007_0000_0012, 0x5001 },
        { Command.TlbiByVmid(7).Word0, Command.TlbiByVmid(7).Word1, 0x7_0000_0028, 0 },
        { Command.TlbiEverything().Word0, Command.TlbiEverything().Word1, 0x30, 0 },
        { Command.Atc(9, 5, 0x10000, 4).Word0, Command.Atc(9, 5, 0x10000, 4).Word1, 0x9_0000_5840, 0x10004 },
        { Command.Respond(9, 5, 0x1F3, PageAnswer.Success).Word0, Command.Respond(9, 5, 0x1F3, PageAnswer.Success).Word1, 0x9_0000_5841, 0x21F3 },
        { Command.Resume(9, 0x77, ResumeAction.Retry).Word0, Command.Resume(9, 0x77, ResumeAction.Retry).Word1, 0x9_0000_1044, 0x77 },
        { Command.Sync().Word0, Command.Sync().Word1, 0x46, 0 },
    };

    [Theory]
    [MemberData(nameof(Commands))]
    public void Command_OfEachKind_HasTheSpecificationsWords(ulong word0, ulong word1, ulong expected0, ulong expected1) => Assert.Equal((expected0, expected1), (word0, word1));

    [Fact]
    public void Command_GivesItsFieldsBack()
    {
        var invalidation = Command.Atc(9, 5, 0x10000, 4);
        Assert.Equal((Opcode.InvalidateAtc, 9u, 5, 0x10000UL, 4), (invalidation.Opcode, invalidation.StreamId, invalidation.SubstreamId, invalidation.Address, invalidation.Size));
        var response = Command.Respond(9, 5, 0x1F3, PageAnswer.Invalid);
        Assert.Equal((9u, 0x1F3, PageAnswer.Invalid), (response.StreamId, response.Group, response.Answer));
        var resume = Command.Resume(9, 0x77, ResumeAction.Abort);
        Assert.Equal((9u, 0x77, ResumeAction.Abort), (resume.StreamId, resume.Stag, resume.Action));
        var tlbi = Command.TlbiByAddress(7, 0x101, 0x5123);
        Assert.Equal((7, 0x101, 0x5000UL), (tlbi.Vmid, tlbi.Asid, tlbi.Address));
    }

    [Theory]
    [InlineData(PageResponse.Success, 0b0000)]
    [InlineData(PageResponse.Invalid, 0b0001)]
    [InlineData(PageResponse.Failure, 0b1111)]
    internal void Response_OfEachKind_HasPcisCode(PageResponse response, int code) => Assert.Equal(code, (int)response);
}
