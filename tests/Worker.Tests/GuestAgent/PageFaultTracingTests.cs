using System.Text;
using System.Text.Json;
using Contracts;
using GuestAgent.Tracing;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class PageFaultTracingTests : IDisposable
{
    private static readonly TracedFunctions Functions = TracedFunctions.PageFaults;
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    private static string Histogram(string keys, long hits, long dropped, params string[] rows) =>
        $"# event histogram\n#\n# trigger info: hist:keys={keys}:vals=hitcount:sort=hitcount:size=128 [active]\n#\n\n{string.Concat(rows.Select(r => r + "\n"))}\nTotals:\n    Hits: {hits}\n    Entries: {rows.Length}\n    Dropped: {dropped}\n";

    private static readonly string Raised = Histogram("flags", 9, 1, "{ flags:          3 } hitcount:          9"), Answered = Histogram("code", 9, 0, "{ code:          1 } hitcount:          2", "{ code:          0 } hitcount:          7"),
        Took = Histogram("us.log2", 9, 0, "{ us: ~ 2^0  } hitcount:          5  us:          3", "{ us: ~ 2^21 } hitcount:          3  us:    4500000", "{ us: ~ 2^30 } hitcount:          1  us: 1000000000"), Quiet = "  sandbox_raised     10    0\n  user_probe    5     7\n";

    [Fact]
    public void Of_TheKernelsTexts_IsWhatTheySay()
    {
        var told = PageFaultCounts.Of(Raised, Answered, Took, Quiet, Functions);
        Assert.Equal((10, 7, 2, 0, false, null), (told.Raised, told.Success, told.Invalid, told.Failure, told.LowerBound, told.Reason));
        Assert.Equal((5, 4, 9, 1_004_500_003_000), (told.Latency!.Counts[0], told.Latency.Counts[21], told.Latency.Total, told.Latency.SumNanoseconds));
    }

    [Fact]
    public void Of_TheKernelsBuckets_AreOurs()
    {
        // For each k what the kernel counts under 2^k lies between the bounds of our bucket k.
        for (var power = 0; power < LatencyHistogram.Buckets - 1; power++)
        {
            var told = PageFaultCounts.Of(Raised, Answered, Histogram("us.log2", 1, 0, $"{{ us: ~ 2^{power} }} hitcount: 1  us: {1L << power}"), Quiet, Functions);
            Assert.Equal(LatencyHistogram.BucketOf((1L << power) * 1000), told.Latency!.Counts.ToList().IndexOf(1));
        }
    }

    [Fact]
    public void Of_WhenAProbeWasMissed_IsALowerBound() => Assert.True(PageFaultCounts.Of(Raised, Answered, Took, Quiet + " sandbox_answered 10 1\n", Functions).LowerBound);

    [Theory]
    [InlineData("sandbox_begun")]
    [InlineData("sandbox_ended")]
    public void Of_WhenAProbeOfTheTimesWasMissed_IsALowerBound(string probe) => Assert.True(PageFaultCounts.Of(Raised, Answered, Took, Quiet + $" {probe} 10 1\n", Functions).LowerBound);

    [Theory]
    [InlineData(0, 0, false)]
    [InlineData(1, 0, true)]
    [InlineData(0, 1, true)]
    [InlineData(null, 0, true)]
    public void Read_WhenATableOfTheTimesMayHaveBeenFull_IsALowerBoundForGood(int? begunDropped, int? endedDropped, bool lowerBound)
    {
        Make(withInstance: true, setUp: true);
        File.WriteAllText(_root.Of(Functions.RaisedHistogram), Raised);
        File.WriteAllText(_root.Of(Functions.AnsweredHistogram), Answered);
        File.WriteAllText(_root.Of(Functions.TookHistogram), Took);
        foreach (var (histogram, dropped) in Functions.TimingHistograms.Zip([begunDropped, endedDropped]))
            if (dropped is { } number)
                File.WriteAllText(_root.Of(histogram), Histogram("dev,grp", 9, number, "{ dev: 0xffff000000c0a810, grp:          7 } hitcount:          9"));
        var tracing = PageFaultTracing.Begin(_root.FullPath, Functions)!;
        Assert.Equal(lowerBound, tracing.Read().LowerBound);
        Assert.Equal(lowerBound, tracing.Read().LowerBound);
    }

    [Theory]
    [InlineData("")]
    [InlineData("# event histogram\n{ us: ~ 2^")]
    public void Of_WhatIsNotUnderstood_IsNullAndNot0(string text)
    {
        var told = PageFaultCounts.Of(text, text, text, text, Functions);
        Assert.Equal((null, null, null, null, null), (told.Raised, told.Success, told.Invalid, told.Failure, told.Latency));
    }

    [Theory]
    [InlineData("{ us:         12 } hitcount:          5  us:          3")]
    [InlineData("{ us: ~ 2^4  } hitcount:          5")]
    [InlineData("{ us: ~ 2^4 } hitcount: 5 } hitcount: 5  us: 3")]
    [InlineData("{ us: ~ 2^4  } hitcount:          5  us: 9223372036854775807")]
    public void Of_LatenciesOfAnotherForm_AreNull(string row) => Assert.Null(PageFaultCounts.Of(Raised, Answered, Histogram("us.log2", 1, 0, row), Quiet, Functions).Latency);

    [Theory]
    [InlineData("6.11.0", true)]
    [InlineData("6.12.95+deb12-cloud-arm64", true)]
    [InlineData("7.3-rc1", true)]
    [InlineData("6.10.99", false)]
    [InlineData("6.1.0-18-arm64", false)]
    [InlineData("5", false)]
    [InlineData("", false)]
    [InlineData("x.y", false)]
    public void AreKnownIn_OnlyKernelsWhoseStructuresWereRead(string release, bool known) => Assert.Equal(known, TracedFunctions.AreKnownIn(release));

    [Fact]
    public void SetUp_NamesWhatItMakesBeforeItIsUsed_AndTakeDownIsItsReverse()
    {
        foreach (var functions in (TracedFunctions[])[TracedFunctions.PageFaults, TracedFunctions.Sleeps])
        {
            var triggers = functions.SetUp.Where(s => s.Path.EndsWith("/trigger", StringComparison.Ordinal)).ToList();
            Assert.Equal(triggers.AsEnumerable().Reverse().Select(t => (t.Path, "!" + t.Text)), functions.TakeDown.Where(s => s.Path.EndsWith("/trigger", StringComparison.Ordinal)).Select(t => (t.Path, t.Text!)));
            Assert.Equal(functions.Last, functions.SetUp[^1]);
            Assert.True(triggers.FindIndex(t => t.Text!.Contains(":began=", StringComparison.Ordinal)) < triggers.FindIndex(t => t.Text!.Contains("-$began", StringComparison.Ordinal)));
            var made = functions.SetUp.Count(s => s.Text is null || s.Path is "kprobe_events" or "synthetic_events");
            Assert.Equal(made, functions.TakeDown.Count(s => !s.Path.EndsWith("/trigger", StringComparison.Ordinal)));
            // The kernel's limits: 64 bytes for a name, and groups of letters, digits and underscores.
            Assert.All(functions.SetUp.Where(s => s.Path == "kprobe_events"), s => Assert.Matches("^p:[a-z_]{1,63}/[a-z_]{1,63} [a-z_0-9]+ ", s.Text!));
        }
    }

    /// <summary>Files of tracefs appear as the kernel makes them; here all are there, but for the instance's folder.</summary>
    private void Make(bool withInstance, bool setUp)
    {
        foreach (var step in Functions.SetUp.Where(s => s.Text is not null && (withInstance || !s.Path.StartsWith("instances", StringComparison.Ordinal))))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(_root.Of(step.Path))!);
            File.WriteAllText(_root.Of(step.Path), "# Available triggers:\n# traceon traceoff\n");
        }
        if (setUp)
            File.WriteAllText(_root.Of(Functions.Last.Path), "hist:keys=dev,grp:vals=hitcount:us=common_timestamp.usecs-$began:sort=hitcount:size=4096 [active]\n");
    }

    [Fact]
    public void Begin_WhenAnEarlierAgentHasSetItUp_TouchesNothingAndReads()
    {
        Make(withInstance: true, setUp: true);
        File.WriteAllText(_root.Of(Functions.RaisedHistogram), Raised);
        var before = File.ReadAllText(_root.Of("kprobe_events"));
        var tracing = PageFaultTracing.Begin(_root.FullPath, Functions);
        Assert.Equal(before, File.ReadAllText(_root.Of("kprobe_events")));
        Assert.Equal(10, tracing!.Read().Raised);
        Assert.Null(tracing.Read().Success);
    }

    [Fact]
    public void Begin_WhenAStepFails_TakesDownWhatItMadeAndIsNone()
    {
        // A kernel without hist triggers: the instance's events have no such files.
        Make(withInstance: false, setUp: false);
        Directory.CreateDirectory(_root.Of("instances"));
        Assert.Null(PageFaultTracing.Begin(_root.FullPath, Functions));
        Assert.False(Directory.Exists(_root.Of("instances/sandbox")));
        Assert.Contains("p:sandbox/sandbox_raised iommu_report_device_fault ", File.ReadAllText(_root.Of("kprobe_events")), StringComparison.Ordinal);
        Assert.EndsWith("-:sandbox/sandbox_raised\n", File.ReadAllText(_root.Of("kprobe_events")), StringComparison.Ordinal);
        Assert.EndsWith("!sandbox_took\n", File.ReadAllText(_root.Of("synthetic_events")), StringComparison.Ordinal);
    }

    [Fact]
    public void Begin_WhenThereIsNoTracefs_IsNone() => Assert.Null(PageFaultTracing.Begin(_root.Of("absent"), Functions));

    [Fact]
    public void Stats_WhenAllIsAsLargeAsItCanBe_IsALineBelow2KiB()
    {
        const long most = 1L << 53;
        var types = Enumerable.Range(0, 256).Select(n => Worker.Faults.SmmuLogLine.TypeOf((byte)n)).Distinct().ToDictionary(t => t, _ => most);
        var line = JsonSerializer.Serialize<AgentMessage>(
            new AgentStats(most, most, most, new(most, most, false, null), new(types, null), new(most, most, most, most, new([.. Enumerable.Repeat(most, LatencyHistogram.Buckets)], 1L << 60), false, null)),
            AgentJson.Default.AgentMessage);
        Assert.InRange(Encoding.UTF8.GetByteCount(line), 1000, 2047);
    }
}
