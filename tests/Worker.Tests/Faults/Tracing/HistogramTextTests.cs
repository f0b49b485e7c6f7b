using CsCheck;
using Worker.Faults.Tracing;
using Xunit;

namespace Worker.Tests.Faults.Tracing;

public sealed class HistogramTextTests
{
    // Read on the emulated node, Linux 7.3.4.
    private const string Latencies = """
        # event histogram
        #
        # trigger info: hist:keys=label,microseconds.log2:vals=hitcount,microseconds:sort=hitcount:size=2048 [active]
        #

        { label: run-worker                                        , microseconds: ~ 2^8  } hitcount:          1  microseconds:        135
        { label: .NET SigHandler                                   , microseconds: ~ 2^13 } hitcount:          1  microseconds:       7664
        { label: Sandbox.Worker                                    , microseconds: ~ 2^4  } hitcount:          2  microseconds:         27

        Totals:
            Hits: 4
            Entries: 3
            Dropped: 0

        """;

    private const string Several = """
        # event histogram
        #
        # trigger info: hist:keys=dev,id,sid-decoded:vals=hitcount:sort=hitcount:size=2048 [active]
        #

        { dev:                                                   , id:          1, sid-decoded:         21 } hitcount:          1
        { dev: 0000:01:00.0                                      , id:         16, sid-decoded:          0 } hitcount:          5

        Totals:
            Hits: 6
            Entries: 2
            Dropped: 3


        # event histogram
        #
        # trigger info: hist:keys=id:vals=hitcount:sort=hitcount:size=128 [active]
        #

        { id:          1 } hitcount:          4

        Totals:
            Hits: 4
            Entries: 1
            Dropped: 0


        """;

    private static readonly string[] Labelled = ["label", "microseconds.log2"], Events = ["dev", "id", "sid-decoded"];

    private static readonly string[] Fragments = ["Totals:", "    Dropped: 9", "# trigger info: hist:keys=label,microseconds.log2:x", "{ label: ", "} hitcount: 1"];

    private static IEnumerable<(string, long, long)> Rows(HistogramRead? read) => read!.Rows.Select(row => (string.Join('|', row.Keys), row.Count, row.Sum));

    [Fact]
    public void Parse_OfLatencies_IsTheirPowersAndSums() => Assert.Equal(
        [("run-worker|8", 1, 135), (".NET SigHandler|13", 1, 7664), ("Sandbox.Worker|4", 2, 27)], Rows(HistogramText.Parse(Latencies, Labelled, "microseconds")));

    [Fact]
    public void Parse_OfSeveral_FindsEachByItsKeys()
    {
        var events = HistogramText.Parse(Several, Events, null);
        Assert.Equal([("|1|21", 1, 0), ("0000:01:00.0|16|0", 5, 0)], Rows(events));
        Assert.Equal((3L, 0L), (events!.Dropped, events.Refused));
        Assert.Equal([("1", 4, 0)], Rows(HistogramText.Parse(Several, ["id"], null)));
        Assert.Null(HistogramText.Parse(Several, ["dev"], null));
    }

    [Fact]
    public void Parse_OfAnEmptyOne_IsNothingAndNotUnknown() => Assert.Equal(
        (0, 0L, 0L), HistogramText.Parse(FakeTracefs.Histogram("common_pid", 0), ["common_pid"], null) is { } read ? (read.Rows.Count, read.Dropped, read.Refused) : default);

    [Theory]
    [InlineData("")]
    [InlineData("# event histogram\n# trigger info: hist:keys=dev:vals=hitcount [active]\n{ dev: a } hitcount: 1\n")]
    [InlineData("# event histogram\n# trigger info: hist:keys=dev:vals=hitcount [active]\nTotals:\n    Hits: 1\n")]
    [InlineData("# event histogram\n# trigger info: hist:keys=dev:vals=hitcount [active]\nTotals:\n    Dropped: many\n")]
    public void Parse_OfWhatHasNoEnd_IsNull(string text) => Assert.Null(HistogramText.Parse(text, ["dev"], null));

    [Theory]
    [InlineData("{ label: a } hitcount: 1 } hitcount: 99, microseconds: ~ 2^1 } hitcount: 1  microseconds: 1")]
    [InlineData("{ label: a, microseconds: ~ 2^3, microseconds: ~ 2^1 } hitcount: 1  microseconds: 1")]
    [InlineData("{ label: a|b, microseconds: ~ 2^1 } hitcount: 1  microseconds: 1")]
    [InlineData("{ label: a, microseconds: ~ 2^1 } hitcount: -1  microseconds: 1")]
    [InlineData("{ label: a, microseconds: ~ 2^1 } hitcount: 99999999999999999999  microseconds: 1")]
    [InlineData("{ label: a, microseconds: ~ 2^1 } hitcount: 1")]
    [InlineData("{ other: a, microseconds: ~ 2^1 } hitcount: 1  microseconds: 1")]
    [InlineData("{ label: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, microseconds: ~ 2^1 } hitcount: 1  microseconds: 1")]
    [InlineData("Totals:")]
    [InlineData("}{")]
    public void Parse_OfALineThatIsNoRow_RefusesItAndHarmsNoOther(string line)
    {
        var at = Latencies.IndexOf("{ label: .NET", StringComparison.Ordinal);
        var read = HistogramText.Parse(Latencies.Insert(at, line + "\n"), Labelled, "microseconds");
        Assert.Equal((3, 1L, 0L), (read!.Rows.Count, read.Refused, read.Dropped));
    }

    [Fact]
    public void Parse_OfARowTwice_TakesTheFirst()
    {
        var row = "{ label: run-worker, microseconds: ~ 2^8 } hitcount: 77  microseconds: 1\n";
        var read = HistogramText.Parse(Latencies.Insert(Latencies.IndexOf("\nTotals", StringComparison.Ordinal), row), Labelled, "microseconds");
        Assert.Equal((1L, 1L), (read!.Rows[0].Count, read.Refused));
    }

    [Fact]
    public void Parse_OfAnything_NeverThrowsAndInventsNoRow()
    {
        var hostile = Gen.OneOf(
            Gen.String[Gen.Char[" {}:,|~^2hitcountlabelmicroseconds0123456789\r\t#é"], 0, 90],
            Gen.Int[0, Fragments.Length - 1].Select(at => Fragments[at]),
            Gen.Select(Gen.String[Gen.Char['a', 'z'], 1, 15], Gen.Int[0, 40], Gen.Long[0, 1L << 40]).Select((name, power, count) => $"{{ label: {name}, microseconds: ~ 2^{power} }} hitcount: {count}  microseconds: {count * 2}"));
        hostile.Array[0, 12].Sample(lines =>
        {
            var text = Latencies.Insert(Latencies.IndexOf("\nTotals", StringComparison.Ordinal), string.Concat(lines.Select(line => line + "\n")));
            var read = HistogramText.Parse(text, Labelled, "microseconds");
            Assert.NotNull(read);
            Assert.All(read.Rows, row => Assert.True(row.Keys.Count == 2 && row.Count >= 0 && row.Sum >= 0 && !row.Keys.Any(key => key.Contains('|'))));
            Assert.True(read.Rows.Count + read.Refused <= lines.Length + 3);
        });
    }

    [Fact]
    public void Parse_OfATextCutAnywhere_HasAllOrNothing() => Gen.Int[0, Latencies.Length].Sample(length =>
    {
        if (HistogramText.Parse(Latencies[..length], Labelled, "microseconds") is { } read)
            Assert.Equal(3, read.Rows.Count);
    });
}
