using Contracts;

namespace Api.Faults;

/// <summary>Counts of events by type (<c>smmu.events.F_TRANSLATION</c>). A sample has only the types that were seen by then: where it has the total, the others have happened 0 times, which is as good an
/// observation. Pure.</summary>
public static class FaultTypes
{
    /// <summary>What must be read to answer for the sources asked for: for a type its total too.</summary>
    public static IReadOnlyCollection<string> ToRead(IReadOnlyCollection<string> asked) =>
        asked.Count == 0 ? asked : asked.Concat(asked.Select(FaultMetrics.TotalOf).OfType<string>()).ToHashSet(StringComparer.Ordinal);

    /// <summary>Of what was read, what was asked for; types that were not seen yet among it.</summary>
    public static IReadOnlyList<SourceReading> Asked(IReadOnlyList<SourceReading> readings, IReadOnlyCollection<string> asked)
    {
        if (!asked.Any(source => FaultMetrics.TotalOf(source) is not null)) return readings;
        var told = readings.Where(r => asked.Contains(r.Source)).ToList();
        told.AddRange(asked.Distinct(StringComparer.Ordinal).Where(source => readings.All(r => r.Source != source)).Select(source => NotSeen(readings, source)).OfType<SourceReading>());
        return told;
    }

    /// <summary>What a sample says of a type that it does not name: 0 where its total was observed, or why that was not; null of anything else.</summary>
    public static SourceReading? NotSeen(IReadOnlyList<SourceReading> readings, string source) =>
        FaultMetrics.TotalOf(source) is { } total && readings.FirstOrDefault(r => r.Source == total) is { } of ? of with { Source = source, Value = of.Value is null ? null : 0, Latency = null } : null;
}
