using Contracts;
using CsCheck;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class LatencyHistogramTests
{
    private static readonly Gen<LatencyHistogram> Histograms =
        Gen.Select(Gen.Long[0, 1L << 40].Array[LatencyHistogram.Buckets], Gen.Long[0, 1L << 50], (counts, sum) => new LatencyHistogram(counts, sum));

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1_000, 0)]
    [InlineData(1_001, 1)]
    [InlineData(2_000, 1)]
    [InlineData(2_001, 2)]
    [InlineData(4_000, 2)]
    [InlineData(1_048_576_000, 20)]
    [InlineData(1_048_576_001, 21)]
    [InlineData(long.MaxValue, 21)]
    public void BucketOf_EachSideOfABound_IsThis(long nanoseconds, int bucket) => Assert.Equal(bucket, LatencyHistogram.BucketOf(nanoseconds));

    [Fact]
    public void BucketOf_AnyLatency_LiesWithinTheBoundsOfItsBucket() => Gen.Long[1, 4_000_000_000].Sample(nanoseconds =>
    {
        var bucket = LatencyHistogram.BucketOf(nanoseconds);
        var seconds = nanoseconds / 1e9;
        return (bucket == 0 || seconds > LatencyHistogram.UpperBoundSeconds(bucket - 1)) && (LatencyHistogram.UpperBoundSeconds(bucket) is not { } upper || seconds <= upper);
    });

    [Fact]
    public void Since_WhatWasAdded_IsWhatWasAdded() => Gen.Select(Histograms, Histograms).Sample((before, more) => before.Plus(more).Since(before)!.Equals(more));

    [Fact]
    public void Since_WhenACountWentBack_IsNull() => Assert.Null(LatencyHistogram.Empty.Since(LatencyHistogram.Empty with { Counts = [1, .. new long[21]] }));

    [Theory]
    [InlineData(0.5, 1, 2)]
    [InlineData(0.75, 1, 2)]
    [InlineData(0.76, 4, 8)]
    [InlineData(1, 4, 8)]
    public void Quantile_OfThreeShortAndOneLong_IsTheBoundsOfItsBucket(double fraction, long aboveMicroseconds, long upToMicroseconds)
    {
        var counts = new long[LatencyHistogram.Buckets];
        (counts[1], counts[3]) = (3, 1);
        Assert.Equal(new LatencyQuantile(aboveMicroseconds / 1e6, upToMicroseconds / 1e6), new LatencyHistogram(counts, 0).Quantile(fraction));
    }

    [Fact]
    public void Quantile_OfNothing_IsNone() => Assert.Null(LatencyHistogram.Empty.Quantile(0.5));

    [Fact]
    public void Quantile_BeyondTheLastBound_HasNoUpperOne() =>
        Assert.Null((LatencyHistogram.Empty with { Counts = [.. new long[21], 1] }).Quantile(0.5)!.UpToSeconds);

    [Theory]
    [InlineData(21, 0, 0)]
    [InlineData(23, 0, 0)]
    [InlineData(22, -1, 0)]
    [InlineData(22, 0, -1)]
    [InlineData(22, long.MaxValue, 0)]
    [InlineData(22, 0, long.MaxValue)]
    public void IsWellFormed_WithAWrongNumberOrSize_IsFalse(int buckets, long first, long sum) =>
        Assert.False(new LatencyHistogram([first, .. new long[buckets - 1]], sum).IsWellFormed);
}
