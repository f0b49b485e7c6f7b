using Api.Faults;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests.Faults;

public sealed class FaultIncreaseTests
{
    private static readonly DateTimeOffset _start = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    private static readonly HashSet<int> _none = [], _known = [1];

    private static StoredSample Sample(int second, long? value, int incarnation = 1, bool lowerBound = false, LatencyHistogram? latency = null) =>
        new(_start.AddSeconds(second), incarnation, [new SourceReading("a", value, value is null ? "AgentSilent" : null, lowerBound, Origin.Simulated, latency)]);

    private static FaultReadingView Second(StoredSample first, StoredSample second) => FaultIncrease.Of([], _known, [first, second], []).Last().Readings.Single();

    public static TheoryData<string, StoredSample, StoredSample, long?, double?> Pairs() => new()
    {
        { "grown", Sample(0, 10), Sample(2, 30), 20, 10.0 },
        { "the same", Sample(0, 10), Sample(1, 10), 0, 0.0 },
        { "gone back", Sample(0, 10), Sample(1, 9), null, null },
        { "another incarnation", Sample(0, 10), Sample(1, 30, incarnation: 2), 30, null },
        { "another incarnation, not seen", Sample(0, 10), Sample(1, null, incarnation: 2), null, null },
        { "not seen before", Sample(0, null), Sample(1, 30), null, null },
        { "not seen now", Sample(0, 10), Sample(1, null), null, null },
        { "at the same time", Sample(0, 10), Sample(0, 30), 20, null },
    };

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Of_TwoSamples_IsThis(string what, StoredSample first, StoredSample second, long? increase, double? perSecond) =>
        Assert.Equal((what, increase, perSecond), (what, Second(first, second).Increase, Second(first, second).PerSecond));

    [Fact]
    public void Of_ALowerBound_StaysOne() => Assert.True(Second(Sample(0, 1), Sample(1, 2, lowerBound: true)).LowerBound);

    [Fact]
    public void Of_TheFirst_IsToldFromTheOneBefore() =>
        Assert.Equal(5, FaultIncrease.Of([Sample(-1, 5)], _known, [Sample(0, 10)], []).Single().Readings.Single().Increase);

    [Fact]
    public void Of_TheFirstOfAGuest_IsAllSinceItsStart_AndNoRate()
    {
        var latency = new LatencyHistogram([4, .. new long[21]], 900);
        var seen = FaultIncrease.Of([], _none, [Sample(0, 4, latency: latency)], []).Single().Readings.Single();
        Assert.Equal((4L, (double?)null, latency), (seen.Increase, seen.PerSecond, seen.LatencyIncrease!.Histogram));
        Assert.Null(FaultIncrease.Of([], _known, [Sample(0, 4)], []).Single().Readings.Single().Increase);
        Assert.Equal(4, FaultIncrease.Of([Sample(-9, 7)], _none, [Sample(0, 4, incarnation: 2)], []).Single().Readings.Single().Increase);
        Assert.Null(FaultIncrease.Of([Sample(-9, 1), Sample(-8, 7, incarnation: 2)], _none, [Sample(0, 4)], []).Single().Readings.Single().Increase);
        // Samples of it lie before those of another, further back than was read.
        Assert.Null(FaultIncrease.Of([Sample(-9, 7)], new HashSet<int> { 2 }, [Sample(0, 4, incarnation: 2)], []).Single().Readings.Single().Increase);
        // A clock that was set back: a later count lies below.
        Assert.Null(FaultIncrease.Of([], _none, [Sample(0, 4), Sample(1, 2)], []).First().Readings.Single().Increase);
    }

    [Theory]
    [InlineData(0L, null, 3L)]
    [InlineData(2L, null, 3L)]
    [InlineData(null, "NoSmmu", null)]
    public void Of_ATypeThatWasNotSeenBefore_IsToldFromItsTotal(long? total, string? reason, long? increase)
    {
        StoredSample[] samples =
        [
            new(_start, 1, [new SourceReading("smmu.events", total, reason, false, Origin.Emulated)]),
            new(_start.AddSeconds(1), 1, [new SourceReading("smmu.events", 5, null, false, Origin.Emulated), new SourceReading("smmu.events.F_TRANSLATION", 3, null, false, Origin.Emulated)]),
        ];
        Assert.Equal(increase, FaultIncrease.Of([], _known, samples, []).Last().Readings[1].Increase);
    }

    // At 60 s the node's clock is set back; the count grows by one a second all the time. Whole seconds, with the sampling's jitter; and a reading that is missing here and there.
    [Theory]
    [InlineData(40.5, 0, 0)]
    [InlineData(40, 4, 0)]
    [InlineData(40, 4, 7)]
    [InlineData(3.25, 200, 5)]
    public void Of_AClockThatWasSetBack_TellsNothingThatWasNot_OnWhicheverPage(double secondsBack, int jitterMilliseconds, int missing)
    {
        var random = new Random(7);
        List<StoredSample> all = [.. Enumerable.Range(0, 121).Select(second => (At: second - (second > 60 ? secondsBack : 0) + (random.Next(-jitterMilliseconds, jitterMilliseconds + 1) / 1000.0), Value: second))
            .OrderBy(s => s.At).Select(s => Sample(0, missing > 0 && s.Value % missing == 3 ? null : s.Value) with { At = _start.AddSeconds(s.At) })];
        foreach (var page in (int[])[5, 10, 50, 200])
        {
            var seen = new List<FaultReadingView>();
            for (var from = 0; from < all.Count; from += page)
                seen.AddRange(FaultIncrease.Of(all[Math.Max(0, from - 4)..from], _known, all[from..Math.Min(all.Count, from + page)], all[Math.Min(all.Count, from + page)..Math.Min(all.Count, from + page + 4)]).Select(v => v.Readings.Single()));
            Assert.All(seen, reading => Assert.True(reading.Increase is null or 1, $"{page}: {reading.Value}: {reading.Increase}"));
            Assert.True(seen.Count(reading => reading.Increase == 1) > 20);
        }
    }

    [Fact]
    public void Of_Latencies_AreThoseOfTheStep()
    {
        var earlier = new LatencyHistogram([5, 0, 0, 1, .. new long[18]], 9_000);
        var later = earlier.Plus(new LatencyHistogram([0, 9, 0, 1, .. new long[18]], 25_000));
        var seen = Second(Sample(0, 6, latency: earlier), Sample(1, 16, latency: later)).LatencyIncrease!;
        Assert.Equal((10, 25_000), (seen.Count, seen.Histogram.SumNanoseconds));
        Assert.Equal(new LatencyQuantile(1e-6, 2e-6), seen.P50);
        Assert.Equal(new LatencyQuantile(1e-6, 2e-6), seen.P90);
        Assert.Equal(new LatencyQuantile(4e-6, 8e-6), seen.P99);
    }

    [Fact]
    public void Of_LatenciesThatWentBack_AreNone() =>
        Assert.Null(Second(Sample(0, 6, latency: new LatencyHistogram([5, .. new long[21]], 9)), Sample(1, 16, latency: LatencyHistogram.Empty)).LatencyIncrease);

    [Fact]
    public void Of_AnySamples_NeverGoesBackAndIsTheGrowth() => Gen.Select(Gen.Long[-200, 1000].Select(v => v < 0 ? (long?)null : v), Gen.Int[1, 3], (value, incarnation) => (value, incarnation)).Array[1, 30].Sample(seen =>
    {
        var samples = seen.Select((s, second) => Sample(second, s.value, s.incarnation)).ToList();
        var all = FaultIncrease.Of([], samples.Take(1).Select(s => s.Incarnation).ToHashSet(), samples, []).Select(v => v.Readings.Single()).ToList();
        bool IsBetween(int incarnation, long? from, long? to) => seen.Any(other => other.incarnation == incarnation && other.value > from && other.value < to);
        // The count that a sample's growth is told from: 0 for the first of an incarnation, its neighbour's, or none.
        long? From(int i) => seen[..i].All(other => other.incarnation != seen[i].incarnation) ? 0 : seen[i - 1].incarnation == seen[i].incarnation ? seen[i - 1].value : null;
        return all.Skip(1).Select((r, i) => (r, From: From(i + 1), To: seen[i + 1])).All(p =>
                // Nothing is null without a cause.
                p.r.Increase == (p.To.value >= p.From && !IsBetween(p.To.incarnation, p.From, p.To.value) ? p.To.value - p.From : null))
            && all[0].Increase is null && all.All(r => r.Increase is null or >= 0 && r.PerSecond is null or >= 0);
    });
}
