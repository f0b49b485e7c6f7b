using System.Text;
using CsCheck;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class ViommuCountsTests
{
    private static ViommuCounts Count(string text) => ViommuCounts.Zero.Add(Encoding.UTF8.GetBytes(text));

    [Theory]
    [InlineData("smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", "F_TRANSLATION")]
    [InlineData("smmuv3_propagate_event SMMU_EVT_F_TRANSLATION sid=0x100", "F_TRANSLATION")]
    [InlineData("12345@1700000000.123456:smmuv3_propagate_event SMMU_EVT_C_BAD_STE sid=0x8", "C_BAD_STE")]
    [InlineData("1@1.000001:smmuv3_record_event SMMU_EVT_F_PERMISSION sid=0x0", "F_PERMISSION")]
    [InlineData("smmuv3_record_event SMMU_EVT_F_TRANSLATION", "refused")]
    [InlineData("smmuv3_record_event SMMU_EVT_F_WALK_EABT\r", "refused")]
    [InlineData("smmuv3_record_event SMMU_EVT_ sid=0x100", "refused")]
    [InlineData("smmuv3_record_event <unknown> sid=0x100", "UNKNOWN")]
    [InlineData("smmuv3_record_event (null) sid=0x100", "UNKNOWN")]
    [InlineData("smmuv3_record_event SMMU_EVT_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA sid=0x1", "refused")]
    [InlineData("virtio_iommu_report_fault FAULT reason=2 flags=256 endpoint=256 address =0xffff96a4a000", "MAPPING")]
    [InlineData("3@1700000000.000009:virtio_iommu_report_fault FAULT reason=1 flags=257 endpoint=8 address =0x0", "DOMAIN")]
    [InlineData("virtio_iommu_report_fault FAULT reason=0 flags=256 endpoint=8 address =0x0", "UNKNOWN")]
    [InlineData("virtio_iommu_report_fault FAULT reason=22 flags=256 endpoint=8 address =0x0", "UNKNOWN")]
    [InlineData("virtio_iommu_report_fault fault", "refused")]
    [InlineData("smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=", "refused")]
    [InlineData("smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x", "refused")]
    [InlineData("smmuv3_record_event \u00ff\u00fe sid=0x1", "refused")]
    [InlineData("smmuv3_record_event SMMU_EVT_f_x sid=0x1", "refused")]
    [InlineData("virtio_iommu_report_fault FAULT reason=2 flags=256", "refused")]
    [InlineData("virtio_iommu_report_fault FAULT reason=x flags=256 endpoint=8 address =0x0", "refused")]
    [InlineData("virtio_iommu_report_faults FAULT reason=2 flags=256", null)]
    [InlineData("smmuv3_record_event_of_others SMMU_EVT_F_TRANSLATION sid=0x100", null)]
    [InlineData("smmuv3_record_event", null)]
    [InlineData("x smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", null)]
    [InlineData("1x@1.0:smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", null)]
    [InlineData("1@1:smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", null)]
    [InlineData("@:.smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", null)]
    [InlineData("qemu-system-aarch64: warning: smmuv3_record_event SMMU_EVT_F_TRANSLATION", null)]
    [InlineData("", null)]
    public void Add_OfALine_CountsItsTypeOrNothing(string line, string? type)
    {
        var counts = Count(line + "\n");
        var refused = type == "refused";
        Assert.Equal(type is null || refused ? [] : [type], counts.Events.Keys);
        Assert.Equal((type is null || refused ? 0 : 1, Encoding.UTF8.GetByteCount(line) + 1), (counts.Total, counts.Offset));
        // It may have been an event.
        Assert.Equal((refused ? 1 : 0, refused), (counts.Refused, counts.EventsLowerBound));
    }

    [Theory]
    [InlineData("smmu_iotlb_lookup_hit IOTLB cache HIT asid=1 addr=0xffffc000 hit=360489 miss=520589 hit rate=40", 1, 0)]
    [InlineData("smmu_iotlb_lookup_miss IOTLB cache MISS asid=1 addr=0xffffc000 hit=360489 miss=520589 hit rate=40", 0, 1)]
    [InlineData("77@1700000000.000009:smmu_iotlb_lookup_hit IOTLB cache HIT asid=1 vmid=2 addr=0x0 hit=1 miss=5 hit rate=16", 1, 0)]
    [InlineData("smmu_iotlb_insert IOTLB ++ asid=1 addr=0xff tg=1 level=3", 0, 0)]
    [InlineData("smmu_iotlb_lookup_hits IOTLB", 0, 0)]
    public void Add_OfALookup_CountsIt(string line, long hits, long misses)
    {
        var counts = Count(line + "\n");
        Assert.Equal((hits, misses, 0L), (counts.TlbHits, counts.TlbMisses, counts.Total));
    }

    [Fact]
    public void Add_WhenALineIsNotFinished_LeavesItForTheNextPart()
    {
        var counts = Count("smmuv3_record_event SMMU_EVT_A sid=0x1\nsmmuv3_record_event SMMU_EVT_B");
        Assert.Equal((1L, 39L), (counts.Total, counts.Offset));
    }

    [Fact]
    public void Add_WhenTypesAreWithoutEnd_KeepsTheTotalAndBoundsTheNames()
    {
        var counts = Count(string.Concat(Enumerable.Range(0, 1000).Select(n => $"smmuv3_record_event SMMU_EVT_T{n} sid=0x1\n")));
        Assert.Equal((1000L, 65), (counts.Total, counts.Events.Count));
        Assert.Equal(936, counts.Events[ViommuCounts.Other]);
    }

    [Fact]
    public void Add_WhenALineIsTooLong_PassesItOverAndSaysThatSomethingIsLost()
    {
        var counts = Count("smmuv3_record_event SMMU_EVT_A " + new string('x', ViommuCounts.MaxLineBytes) + "\nsmmuv3_record_event SMMU_EVT_B sid=0x1\n");
        Assert.Equal(["B"], counts.Events.Keys);
        Assert.True(counts is { EventsLowerBound: true, TlbLowerBound: true, Skipping: false });
    }

    private static readonly string[] Lines =
    [
        "smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100", "9@8.7:smmuv3_propagate_event SMMU_EVT_C_BAD_CD sid=0x1", "smmuv3_record_event ?",
        "smmu_iotlb_lookup_hit IOTLB", "5@6.7:smmu_iotlb_lookup_miss IOTLB", "noise", "", "virtio_iommu_report_fault FAULT reason=2 flags=256 endpoint=256 address =0xffff96a4a000",
    ];

    internal static readonly Gen<string> AnyLine = Gen.OneOf(
        Gen.Int[0, Lines.Length - 1].Select(n => Lines[n]),
        Gen.Int[0, Lines.Length - 1].Select(n => Lines[n]),
        Gen.Int[ViommuCounts.MaxLineBytes - 2, ViommuCounts.MaxLineBytes + 2].Select(length => new string('l', length)));

    [Fact]
    public void Add_WhereverTheLogIsSplit_CountsTheSame() =>
        Gen.Select(AnyLine.Array[0, 25], Gen.Int[1, 3000].Array[1, 60]).Sample((lines, steps) =>
        {
            var log = Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n");
            var whole = ViommuCounts.Zero.Add(log);
            var (parts, seen) = (ViommuCounts.Zero, 0);
            // As the log grows, so much of it can be seen; every reading begins where the last one left off.
            foreach (var step in steps.Append(log.Length))
            {
                seen = Math.Min(log.Length, seen + step);
                parts = parts.Add(log.AsSpan((int)parts.Offset, seen - (int)parts.Offset));
            }
            AssertSame(whole, parts);
            Assert.Equal(log.Length, parts.Offset);
        });

    internal static void AssertSame(ViommuCounts expected, ViommuCounts actual)
    {
        Assert.Equal(expected.Events.OrderBy(e => e.Key), actual.Events.OrderBy(e => e.Key));
        Assert.Equal(
            (expected.Offset, expected.TlbHits, expected.TlbMisses, expected.EventsLowerBound, expected.TlbLowerBound, expected.Skipping, expected.Refused),
            (actual.Offset, actual.TlbHits, actual.TlbMisses, actual.EventsLowerBound, actual.TlbLowerBound, actual.Skipping, actual.Refused));
    }
}
