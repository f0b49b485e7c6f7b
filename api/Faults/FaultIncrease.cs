using Contracts;

namespace Api.Faults;

/// <summary>A sample as it is stored.</summary>
public sealed record StoredSample(DateTimeOffset At, int Incarnation, IReadOnlyList<SourceReading> Readings);

// Pure: counters to what was added between two samples. Within one incarnation only; what cannot be told is null, never 0 and never negative.
public static class FaultIncrease
{
    // before: The sample before the first, if there is one; it is not in the answer.
    public static IEnumerable<FaultSampleView> Of(StoredSample? before, IEnumerable<StoredSample> samples)
    {
        foreach (var sample in samples)
        {
            var earlier = before is not null && before.Incarnation == sample.Incarnation ? before : null;
            yield return new FaultSampleView(sample.At, sample.Incarnation,
                [.. sample.Readings.Select(r => Of(earlier, sample.At, r))]);
            before = sample;
        }
    }

    private static FaultReadingView Of(StoredSample? before, DateTimeOffset at, SourceReading now)
    {
        var earlier = before?.Readings.FirstOrDefault(r => r.Source == now.Source);
        var increase = now.Value - earlier?.Value is >= 0 and var grown ? grown : (long?)null;
        var seconds = before is null ? 0 : (at - before.At).TotalSeconds;
        var latency = increase is not null && now.Latency is { } latencies && earlier?.Latency is { } past ? latencies.Since(past) : null;
        return new FaultReadingView(now.Source, now.Value, now.NullReason, now.LowerBound, now.Origin, now.Latency, increase,
            increase is { } events && seconds > 0 ? events / seconds : null,
            latency is null ? null : new LatencyIncreaseView(latency, latency.Total, latency.Quantile(0.5), latency.Quantile(0.9), latency.Quantile(0.99)));
    }
}
