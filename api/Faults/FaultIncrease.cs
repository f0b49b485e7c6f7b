using Contracts;

namespace Api.Faults;

/// <summary>A sample as it is stored.</summary>
public sealed record StoredSample(DateTimeOffset At, int Incarnation, IReadOnlyList<SourceReading> Readings)
{
    /// <summary>Of a step: it has more samples than one time has.</summary>
    public bool IsMixed { get; init; }
}

// Pure: counters to what was added between two samples. Within one incarnation only; what cannot be told is null, never 0 and never negative.
// Counters begin with the guest: the first sample of an incarnation tells all that was added since, and no rate, for how long that is no sample says.
// Samples lie in the order of their node's clock. One that was set back puts newer samples between older ones: a step between the two is over counts that other samples have, and
// tells nothing. Of a minute one sample is kept, of whichever time; that it is mixed is known by how many it had, and no step to, from or beside such a minute tells anything.
public static class FaultIncrease
{
    /// <param name="before">The samples before the first, oldest first, as far as they are known; they are not in the answer.</param>
    /// <param name="known">Incarnations that have, or may have, samples before those.</param>
    /// <param name="samples">Oldest first.</param>
    /// <param name="after">Those after the last, as far as they are known.</param>
    public static IEnumerable<FaultSampleView> Of(IReadOnlyList<StoredSample> before, IReadOnlySet<int> known, IReadOnlyList<StoredSample> samples, IReadOnlyList<StoredSample> after)
    {
        StoredSample[] all = [.. before, .. samples, .. after];
        var counts = CountsOf(all);
        var seen = before.Select(sample => sample.Incarnation).Concat(known).ToHashSet();
        for (var index = before.Count; index < before.Count + samples.Count; index++)
        {
            var (sample, earlier) = (all[index], index > 0 && all[index - 1].Incarnation == all[index].Incarnation && !IsMixed(all, index) ? all[index - 1] : null);
            var isFirst = seen.Add(sample.Incarnation) && !IsMixed(all, index);
            var readings = new FaultReadingView[sample.Readings.Count];
            for (var reading = 0; reading < readings.Length; reading++)
            {
                var now = sample.Readings[reading];
                var past = isFirst ? now with { Value = 0, Latency = LatencyHistogram.Empty } : earlier is null ? null : ReadingOf(earlier, now.Source, reading);
                readings[reading] = Of(past?.Value is { } from && now.Value is { } to && IsOver(counts[(sample.Incarnation, now.Source)], from, to) ? null : past, earlier?.At, sample.At, now);
            }
            yield return new FaultSampleView(sample.At, sample.Incarnation, readings);
        }
    }

    /// <summary>The step that ends here, or the ones before and after it.</summary>
    private static bool IsMixed(StoredSample[] all, int index)
    {
        for (var near = Math.Max(0, index - 2); near <= Math.Min(all.Length - 1, index + 1); near++)
            if (all[near].IsMixed) return true;
        return false;
    }

    /// <summary>What samples of an incarnation have counted of a source, the lowest first.</summary>
    private static Dictionary<(int, string), List<long>> CountsOf(StoredSample[] all)
    {
        var counts = new Dictionary<(int, string), List<long>>();
        foreach (var sample in all)
            foreach (var reading in sample.Readings)
            {
                if (reading.Value is not { } value) continue;
                if (!counts.TryGetValue((sample.Incarnation, reading.Source), out var of)) counts[(sample.Incarnation, reading.Source)] = of = [];
                if (of.Count == 0 || of[^1] != value) of.Add(value);
            }
        foreach (var of in counts.Values) of.Sort();
        return counts;
    }

    /// <summary>Whether there is one strictly between the two.</summary>
    private static bool IsOver(List<long> counts, long from, long to)
    {
        if (to <= from + 1) return false;
        var at = counts.BinarySearch(from + 1);
        at = at < 0 ? ~at : at;
        return at < counts.Count && counts[at] < to;
    }

    /// <summary>As a rule at the same place in each sample.</summary>
    private static SourceReading? ReadingOf(StoredSample sample, string source, int place)
    {
        if (place < sample.Readings.Count && sample.Readings[place].Source == source) return sample.Readings[place];
        foreach (var reading in sample.Readings)
            if (reading.Source == source) return reading;
        return FaultTypes.NotSeen(sample.Readings, source);
    }

    private static FaultReadingView Of(SourceReading? earlier, DateTimeOffset? before, DateTimeOffset at, SourceReading now)
    {
        var increase = now.Value - earlier?.Value is >= 0 and var grown ? grown : (long?)null;
        var seconds = before is null ? 0 : (at - before.Value).TotalSeconds;
        var latency = increase is not null && now.Latency is { } latencies && earlier?.Latency is { } past ? latencies.Since(past) : null;
        return new FaultReadingView(now.Source, now.Value, now.NullReason, now.LowerBound, now.Origin, now.Latency, increase,
            increase is { } events && seconds > 0 ? events / seconds : null,
            latency is null ? null : new LatencyIncreaseView(latency, latency.Total, latency.Quantile(0.5), latency.Quantile(0.9), latency.Quantile(0.99)));
    }
}
