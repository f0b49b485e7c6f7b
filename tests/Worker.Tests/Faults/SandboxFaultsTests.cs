using Contracts;
using CsCheck;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class SandboxFaultsTests
{
    private static readonly Gen<SourceReading> AnyReading = Gen.Select(Gen.Bool.Select(b => b ? "a" : "b"), Gen.Long[-300, 1000], Gen.Bool, Gen.Int[0, 3], (source, value, lowerBound, bucket) =>
        value < 0 ? new SourceReading(source, null, "AgentSilent", false, Origin.Emulated)
        : new SourceReading(source, value, null, lowerBound, Origin.Emulated, bucket == 3 ? null : LatencyHistogram.Empty with { Counts = [.. Enumerable.Range(0, LatencyHistogram.Buckets).Select(i => i == bucket ? value : 0)] }));

    private static SourceReading Reading(long? value, LatencyHistogram? latency = null) => new("guest.minorFaults", value, value is null ? "AgentSilent" : null, false, Origin.Emulated, latency);

    [Fact]
    public void Hold_OfACountThatGoesBack_KeepsTheHighestAndIsALowerBoundForGood()
    {
        var counts = new HighestCounts();
        Assert.Equal(Reading(10), counts.Hold(Reading(10)));
        Assert.Equal(Reading(10) with { LowerBound = true }, counts.Hold(Reading(4)));
        Assert.Null(counts.Hold(Reading(null)).Value);
        // What was counted before the reset is not in it.
        Assert.Equal(Reading(11) with { LowerBound = true }, counts.Hold(Reading(11)));
    }

    [Fact]
    public void Hold_OfAnyReadings_NeverGoesBackAndForgetsNoLowerBound() => AnyReading.Array[0, 40].Sample(readings =>
    {
        var counts = new HighestCounts();
        foreach (var source in readings.Select(r => (Told: r, Shown: counts.Hold(r))).GroupBy(r => r.Told.Source))
        {
            var (before, wentBack) = ((SourceReading?)null, false);
            foreach (var (told, shown) in source)
            {
                Assert.Equal((told.Value is null, told.NullReason, told.Origin), (shown.Value is null, shown.NullReason, shown.Origin));
                if (shown.Value is null)
                    continue;
                wentBack |= told.Value < before?.Value;
                Assert.True(shown.Value >= told.Value && shown.Value >= (before?.Value ?? 0));
                Assert.Equal(told.LowerBound || wentBack, shown.LowerBound);
                if (before?.Latency is { } past)
                    Assert.NotNull(shown.Latency!.Since(past));
                before = shown;
            }
        }
    });
}
