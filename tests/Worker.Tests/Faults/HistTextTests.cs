using CsCheck;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class HistTextTests
{
    /// <summary>As Linux 6.12 wrote it.</summary>
    private const string Latencies = """
        # event histogram
        #
        # trigger info: hist:keys=us.log2:vals=hitcount,us:sort=hitcount:size=128 [active]
        #

        { us: ~ 2^12 } hitcount:          2  us:       6291
        { us: ~ 2^0  } hitcount:         38  us:         21

        Totals:
            Hits: 40
            Entries: 2
            Dropped: 3

        """;

    private const string Groups = """
        # event histogram
        #
        # trigger info: hist:keys=dev,grp:vals=hitcount:us=common_timestamp.usecs-$began:sort=hitcount:size=4096:clock=global:onmatch(a.b).trace(c,$us) [active]
        #

        { dev: 18446603336355217464, grp:          1 } hitcount:          7

        Totals:
            Hits: 7
            Entries: 1
            Dropped: 0

        """;

    [Fact]
    public void Parse_OfAHistogram_HasItsRowsAndTotals()
    {
        var table = Assert.Single(HistText.Parse(Latencies)!);
        Assert.Equal((40, 3), (table.Hits, table.Dropped));
        Assert.Equal([(12, 2, 6291), (0, 38, 21)], table.Rows.Select(r => (r.PowerOfTwo("us")!.Value, r.Values["hitcount"], r.Values["us"])));
    }

    [Fact]
    public void Parse_OfSeveralHistogramsOfOneEvent_HasThemInOrder()
    {
        var tables = HistText.Parse(Groups + "\n\n" + Latencies)!;
        Assert.Equal([7, 40], tables.Select(t => t.Hits));
        var row = Assert.Single(tables[0].Rows);
        Assert.Equal(("18446603336355217464", "1", null), (row.Keys["dev"], row.Keys["grp"], row.PowerOfTwo("grp")));
    }

    [Fact]
    public void Parse_OfAnEmptyHistogram_IsOneWithoutRows() =>
        Assert.Empty(Assert.Single(HistText.Parse("# event histogram\n#\n# trigger info: hist:keys=code [active]\n#\n\n\nTotals:\n    Hits: 0\n    Entries: 0\n    Dropped: 0\n")!).Rows);

    [Theory]
    [InlineData("")]
    [InlineData("# event histogram\n")]
    [InlineData("{ us: 1 } hitcount: 1\n")]
    [InlineData("# event histogram\n{ us: 1 } hitcount: 1\n\nTotals:\n    Hits: 1\n    Entries: 1\n")]
    [InlineData("# event histogram\n{ us: 1 } hitcount:\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us: 1 } hitcount: -1\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us: 1 } hitcount: 99999999999999999999\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us: 1 } hitcount: 1 hitcount: 2\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us: 1, us: 2 } hitcount: 1\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us } hitcount: 1\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n{ us: 1\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n# event histogram\n    Hits: 1\n    Dropped: 0\n")]
    [InlineData("# event histogram\n    Dropped: 0\n")]
    [InlineData("    Hits: 1\n    Dropped: 0\n")]
    public void Parse_OfAnythingElse_IsNull(string text) => Assert.Null(HistText.Parse(text));

    [Fact]
    public void Parse_OfAPartOfTwoHistograms_IsNullOrTheWholeFirst()
    {
        var text = Groups + "\n\n" + Latencies;
        for (var length = 0; length < text.TrimEnd().Length - 1; length++)
            Assert.True(HistText.Parse(text.AsSpan(0, length)) is null or [{ Hits: 7, Rows.Count: 1 }], $"{length}");
    }

    [Fact]
    public void Parse_OfAnyText_NeverThrows() =>
        Gen.String[Gen.Char["{}:, 0123456789~^#\nabHitsDropped"], 0, 200].Sample(text =>
        {
            HistText.Parse(text);
            HistText.Parse("# event histogram\n{" + text);
        });
}
