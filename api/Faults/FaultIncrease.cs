using Contracts;

namespace Api.Faults;

/// <summary>A sample as it is stored.</summary>
public sealed record StoredSample(DateTimeOffset At, int Incarnation, IReadOnlyList<SourceReading> Readings);

// Pure: counters to what was added between two samples. Within one incarnation only; what cannot be told is null, never 0 and never negative.
// Samples lie in the order of their node's clock. One that was set back puts newer samples between older ones, where a count rises and falls by turns: what grew there is
// not known, so the steps beside one that goes back tell nothing either.
public static class FaultIncrease
{
    /// <param name="before">The samples before the first, oldest first, as far as they are known; they are not in the answer. Two are enough.</param>
    /// <param name="samples">Oldest first.</param>
    /// <param name="after">The one after the last, where it is known.</param>
    public static IEnumerable<FaultSampleView> Of(IReadOnlyList<StoredSample> before, IReadOnlyList<StoredSample> samples, StoredSample? after = null)
    {
        StoredSample[] all = [.. before, .. samples, .. after is null ? (StoredSample[])[] : [after]];
        for (var index = before.Count; index < before.Count + samples.Count; index++)
        {
            var at = index;
            var sample = all[at];
            yield return new FaultSampleView(sample.At, sample.Incarnation, [.. sample.Readings.Select(r => Of(
                GoesBack(all, at - 1, r.Source) || GoesBack(all, at + 1, r.Source) ? null : all.ElementAtOrDefault(at - 1), sample, r))]);
        }
    }

    /// <summary>Whether the source's count at an index is below the one before it.</summary>
    private static bool GoesBack(StoredSample[] all, int index, string source) =>
        index > 0 && index < all.Length && all[index].Incarnation == all[index - 1].Incarnation && ValueOf(all[index], source) < ValueOf(all[index - 1], source);

    private static long? ValueOf(StoredSample sample, string source) => sample.Readings.FirstOrDefault(r => r.Source == source)?.Value;

    private static FaultReadingView Of(StoredSample? before, StoredSample sample, SourceReading now)
    {
        if (before?.Incarnation != sample.Incarnation)
            before = null;
        var earlier = before?.Readings.FirstOrDefault(r => r.Source == now.Source);
        var increase = now.Value - earlier?.Value is >= 0 and var grown ? grown : (long?)null;
        var seconds = before is null ? 0 : (sample.At - before.At).TotalSeconds;
        var latency = increase is not null && now.Latency is { } latencies && earlier?.Latency is { } past ? latencies.Since(past) : null;
        return new FaultReadingView(now.Source, now.Value, now.NullReason, now.LowerBound, now.Origin, now.Latency, increase,
            increase is { } events && seconds > 0 ? events / seconds : null,
            latency is null ? null : new LatencyIncreaseView(latency, latency.Total, latency.Quantile(0.5), latency.Quantile(0.9), latency.Quantile(0.99)));
    }
}
