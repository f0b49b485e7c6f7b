using Contracts;

namespace Worker.Faults;

// One way to observe one VM, and the sources that it tells. Every VM answers every source of the table (api/Contracts/FaultMetricTable.cs), each from one collector.
// Guarantees: at each reading one for each of its sources, and one for each type that was seen of it: a value, or the reason why there is none.
// Assumes: one sampler, once a second. Nothing here waits: what takes time is done beside, and its last result is read.
internal interface IFaultCollector
{
    IEnumerable<SourceReading> Read(DateTimeOffset now);
}

// Pure: an observation to a reading.
internal static class Reading
{
    /// <summary>The value, unless a reason hides it; <paramref name="otherwise"/> where there is neither.</summary>
    public static SourceReading Of(string source, long? value, string? reason, string otherwise, Origin origin, bool lowerBound = false, LatencyHistogram? latency = null) =>
        reason is null && value is { } shown
            ? new SourceReading(source, shown, null, lowerBound, origin, latency)
            : new SourceReading(source, null, reason ?? otherwise, false, origin);

    public static SourceReading Null(string source, string reason, Origin origin) => new(source, null, reason, false, origin);

    /// <summary>Counts by type with their total, types in order; only the total, null, where there is a reason.</summary>
    public static IEnumerable<SourceReading> ByType(string source, IReadOnlyDictionary<string, long> counts, string? reason, Origin origin, bool lowerBound)
    {
        yield return Of(source, counts.Values.Sum(), reason, "", origin, lowerBound);
        if (reason is null)
            foreach (var (type, count) in Known(counts).OrderBy(e => e.Type, StringComparer.Ordinal))
                yield return Of($"{source}.{type}", count, null, "", origin, lowerBound);
    }

    /// <summary>Types that no specification names are one: a guest could name others without end, and each name is kept.</summary>
    public static IEnumerable<(string Type, long Count)> Known(IReadOnlyDictionary<string, long> counts) =>
        counts.GroupBy(e => FaultMetrics.EventTypes.Contains(e.Key) ? e.Key : ViommuCounts.Unknown).Select(g => (g.Key, g.Aggregate(0L, (sum, e) => sum > long.MaxValue - e.Value ? long.MaxValue : sum + e.Value)));
}

// Sources that a kind of VMM has nothing of: null, each with the one reason.
internal sealed class AbsentFaults(string reason, Origin origin, params IReadOnlyList<string> sources) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => sources.Select(source => Reading.Null(source, reason, origin));
}
