using Contracts;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Faults;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class HighestCountsTests : IDisposable
{
    private static readonly Gen<SourceReading> AnyReading = Gen.Select(Gen.Bool.Select(b => b ? "a" : "b"), Gen.Long[-300, 1000], Gen.Bool, Gen.Int[0, 3], (source, value, lowerBound, bucket) =>
        value < 0 ? new SourceReading(source, null, "AgentSilent", false, Origin.Emulated)
        : new SourceReading(source, value, null, lowerBound, Origin.Emulated, bucket == 3 ? null : LatencyHistogram.Empty with { Counts = [.. Enumerable.Range(0, LatencyHistogram.Buckets).Select(i => i == bucket ? value : 0)] }));

    private static SourceReading Reading(long? value, LatencyHistogram? latency = null) => new("guest.minorFaults", value, value is null ? "AgentSilent" : null, false, Origin.Emulated, latency);

    private static LatencyHistogram Answered(long count) => new([count, .. new long[LatencyHistogram.Buckets - 1]], 0);

    private readonly TemporaryDirectory _root = new();
    private readonly FakeTimeProvider _time = new();

    public void Dispose() => _root.Dispose();

    private HighestCounts Open(bool adopted, int incarnation = 1)
    {
        var directory = RuntimeDirectory.Of(_root.FullPath, Guid.Empty);
        directory.Create();
        return new HighestCounts(directory, incarnation, adopted, _time, NullLogger.Instance);
    }

    /// <summary>Ten seconds later.</summary>
    private SourceReading Told(HighestCounts counts, SourceReading reading)
    {
        _time.Advance(TimeSpan.FromSeconds(10));
        var told = counts.Hold(reading);
        counts.Store();
        return told;
    }

    [Fact]
    public void Hold_OfACountThatGoesBack_KeepsTheHighestAndIsALowerBoundForGood()
    {
        var counts = Open(adopted: false);
        Assert.Equal(Reading(10), counts.Hold(Reading(10)));
        Assert.Equal(Reading(10) with { LowerBound = true }, counts.Hold(Reading(4)));
        Assert.Null(counts.Hold(Reading(null)).Value);
        // What was counted before the reset is not in it.
        Assert.Equal(Reading(11) with { LowerBound = true }, counts.Hold(Reading(11)));
    }

    [Fact]
    public void Hold_OfALowerBoundThatBecomesExact_IsExact()
    {
        var counts = Open(adopted: false);
        Assert.True(counts.Hold(Reading(10) with { LowerBound = true }).LowerBound);
        Assert.False(counts.Hold(Reading(10)).LowerBound);
    }

    [Fact]
    public void Hold_OfLatenciesThatGoBack_KeepsThemAndIsALowerBoundForGood()
    {
        var counts = Open(adopted: false);
        counts.Hold(Reading(10, Answered(9)));
        Assert.Equal(Reading(11, Answered(9)) with { LowerBound = true }, counts.Hold(Reading(11, Answered(2))));
        Assert.Equal(Reading(12, Answered(10)) with { LowerBound = true }, counts.Hold(Reading(12, Answered(10))));
    }

    [Fact]
    public void Store_IsSeldom_ButAtOnceWhenACountBecomesALowerBound()
    {
        var counts = Open(adopted: false);
        Told(counts, Reading(10));
        var file = Path.Combine(RuntimeDirectory.Of(_root.FullPath, Guid.Empty).FullPath, "faults.state");
        var first = File.ReadAllBytes(file);
        _time.Advance(TimeSpan.FromSeconds(9));
        counts.Hold(Reading(11));
        counts.Store();
        Assert.Equal(first, File.ReadAllBytes(file));
        counts.Hold(Reading(2));
        counts.Store();
        Assert.Equal(Reading(11) with { LowerBound = true }, Open(adopted: true).Hold(Reading(3)));
        Told(counts, Reading(12));
        Assert.Equal(Reading(12) with { LowerBound = true }, Open(adopted: true).Hold(Reading(3)));
    }

    [Fact]
    public void Hold_OfLatenciesThatAreNotToldOnce_KeepsThemAndMarksNothing()
    {
        var counts = Open(adopted: false);
        counts.Hold(Reading(10, Answered(9)));
        Assert.Equal(Reading(11, Answered(9)), counts.Hold(Reading(11)));
        Assert.Equal(Reading(12, Answered(10)), counts.Hold(Reading(12, Answered(10))));
    }

    [Fact]
    public void Hold_ByTheNextWorker_GoesOnFromWhatTheLastHasTold()
    {
        Assert.Equal(Reading(10, Answered(3)), Told(Open(adopted: false), Reading(10, Answered(3))));
        Assert.Equal(Reading(12, Answered(4)), Told(Open(adopted: true), Reading(12, Answered(4))));
        // It went back while no worker looked, and what is unknown stays so, also for the one after.
        Assert.Equal(Reading(12, Answered(4)) with { LowerBound = true }, Told(Open(adopted: true), Reading(5)));
        Assert.Equal(Reading(90, Answered(5)) with { LowerBound = true }, Told(Open(adopted: true), Reading(90, Answered(5))));
        Assert.Equal(Reading(1), Told(Open(adopted: false, incarnation: 2), Reading(1)));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("no samples")]
    public void Hold_OfAGuestOfWhichNothingIsKept_IsALowerBound(string? kept)
    {
        Told(Open(adopted: false), Reading(10));
        var file = Path.Combine(RuntimeDirectory.Of(_root.FullPath, Guid.Empty).FullPath, "faults.state");
        if (kept is null)
            File.Delete(file);
        else
            File.WriteAllText(file, kept);
        Assert.Equal(Reading(7) with { LowerBound = true }, Told(Open(adopted: true), Reading(7)));
    }

    [Fact]
    public void Hold_OfWhatAnotherIncarnationHasLeft_IsALowerBound()
    {
        Told(Open(adopted: false), Reading(10));
        Assert.Equal(Reading(7) with { LowerBound = true }, Told(Open(adopted: true, incarnation: 2), Reading(7)));
    }

    [Fact]
    public void Hold_OfAnyReadings_NeverGoesBackAndForgetsNoLowerBound_WhicheverWorkerTellsThem() => Gen.Select(AnyReading, Gen.Int[0, 4]).Array[0, 40].Sample(readings =>
    {
        var counts = Open(adopted: false);
        var shownBefore = new Dictionary<string, SourceReading>();
        var marked = new HashSet<string>();
        foreach (var (told, restart) in readings)
        {
            counts = restart == 0 && shownBefore.Count > 0 ? Open(adopted: true) : counts;
            var shown = Told(counts, told);
            Assert.Equal((told.Value is null, told.NullReason, told.Origin), (shown.Value is null, shown.NullReason, shown.Origin));
            if (shown.Value is null)
                continue;
            var before = shownBefore.GetValueOrDefault(told.Source);
            var wentBack = told.Value < before?.Value || (before?.Latency is { } past && told.Latency is { } now && now.Since(past) is null);
            Assert.True(shown.Value >= told.Value && shown.Value >= (before?.Value ?? 0));
            if (wentBack)
                marked.Add(told.Source);
            Assert.Equal(told.LowerBound || marked.Contains(told.Source), shown.LowerBound);
            if (before?.Latency is { } latency)
                Assert.NotNull(shown.Latency!.Since(latency));
            shownBefore[told.Source] = shown;
        }
    }, threads: 1, iter: 300);
}
