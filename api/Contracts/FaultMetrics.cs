namespace Contracts;

/// <summary>How samples become metrics, by the table of sources. Pure.</summary>
public static class FaultMetrics
{
    /// <summary>1 for each source that cannot be observed, with its reason: its metric is then absent, and not 0.</summary>
    public static readonly Metric Unobserved = new("sandbox_fault_source_unobserved", MetricKind.Gauge, "1 for each fault source of a sandbox that cannot be observed now, by reason.");

    public static readonly IReadOnlyList<FaultMetric> All = FaultMetricTable.Rows;

    /// <summary>Every metric of the table, with its parts and latencies.</summary>
    public static readonly IReadOnlyList<Metric> Metrics = [.. All.SelectMany(m => (Metric?[])[
        new Metric(m.Name, MetricKind.Counter, m.Help),
        m.ByType is { } byType ? new Metric(byType, MetricKind.Counter, $"{m.Help.TrimEnd('.')}, by type.") : null,
        m.Duration is { } duration ? new Metric(duration, MetricKind.Histogram, $"How long they took: {m.Help}") : null]).OfType<Metric>().DistinctBy(m => m.Name), Unobserved];

    private static readonly Dictionary<string, FaultMetric> BySource = All.ToDictionary(m => m.Source, StringComparer.Ordinal);

    /// <summary>What one reading tells one metric.</summary>
    private readonly record struct Line(string Metric, string Sandbox, FaultMetric Source, SourceReading Reading);

    /// <summary>The latest samples of sandboxes. Each series has the label <c>bound</c>, exact or lower, and its origin.</summary>
    public static void Write(MetricText text, IReadOnlyCollection<FaultSample> samples)
    {
        var lines = samples.SelectMany(LinesOf).ToLookup(line => line.Metric);
        foreach (var metric in Metrics)
        {
            text.Begin(metric);
            foreach (var line in lines[metric.Name])
                Write(text, line);
        }
    }

    /// <summary>The row of a source or, for smmu.events.F_TRANSLATION, of what it is a part of; null of none.</summary>
    public static FaultMetric? SourceOf(string source) =>
        BySource.GetValueOrDefault(source) ?? All.FirstOrDefault(m => m.ByType is not null && source.StartsWith(m.Source + ".", StringComparison.Ordinal));

    private static IEnumerable<Line> LinesOf(FaultSample sample)
    {
        var sandbox = sample.SandboxId.ToString();
        foreach (var reading in sample.Readings)
        {
            if (SourceOf(reading.Source) is not { } source)
                continue;
            var isTotal = reading.Source == source.Source;
            if (reading.NullReason is not null)
                yield return new Line(Unobserved.Name, sandbox, source, reading);
            if (reading.Value is not null && (isTotal ? source.Name : source.ByType) is { } name)
                yield return new Line(name, sandbox, source, reading);
            if (reading.Latency is not null && isTotal && source.Duration is { } duration)
                yield return new Line(duration, sandbox, source, reading);
        }
    }

    private static void Write(MetricText text, Line line)
    {
        var (metric, sandbox, source, reading) = line;
        var (bound, origin) = (("bound", reading.LowerBound ? "lower" : "exact"), ("origin", Lower(reading.Origin)));
        if (metric == Unobserved.Name)
            text.Add(1, ("sandbox", sandbox), ("source", reading.Source), ("reason", reading.NullReason!));
        else if (metric == source.Duration)
            text.Add(reading.Latency!, [("sandbox", sandbox), .. source.Labels, bound, origin]);
        else if (source.IsTime)
            text.Add(TimeSpan.FromMicroseconds(reading.Value!.Value), [("sandbox", sandbox), .. source.Labels, bound, origin]);
        else if (metric == source.ByType)
            text.Add(reading.Value!.Value, ("sandbox", sandbox), ("type", reading.Source[(source.Source.Length + 1)..]), bound, origin);
        else
            text.Add(reading.Value!.Value, [("sandbox", sandbox), .. source.Labels, bound, origin]);
    }

    private static string Lower(Origin origin) => origin switch { Origin.Hardware => "hardware", Origin.Emulated => "emulated", _ => "simulated" };
}
