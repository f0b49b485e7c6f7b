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

    /// <summary>The values of the label <c>type</c> (Arm SMMUv3, IHI 0070, 7.3; Virtio I/O Device 1.3, 5.13.6.9). A guest or a node may name others: they are counted together as
    /// <c>other</c>, or whoever has a guest could make series without end.</summary>
    public static readonly IReadOnlySet<string> EventTypes = All.SelectMany(m => m.Types).ToHashSet(StringComparer.Ordinal);

    public const string Other = "other";
    private static readonly Dictionary<string, FaultMetric> BySource = All.ToDictionary(m => m.Source, StringComparer.Ordinal);
    private static readonly Dictionary<string, string> Totals = All.SelectMany(m => m.Types, (m, type) => (Type: $"{m.Source}.{type}", m.Source)).ToDictionary(t => t.Type, t => t.Source, StringComparer.Ordinal);

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

    /// <summary>Of a type's source that the table has (smmu.events.F_TRANSLATION) the source of its total; null of any other name.</summary>
    public static string? TotalOf(string source) => Totals.GetValueOrDefault(source);

    /// <summary>Whether a history can be asked for it: a source of the table, or a type of one.</summary>
    public static bool IsSource(string source) => BySource.ContainsKey(source) || Totals.ContainsKey(source);

    private static IEnumerable<Line> LinesOf(FaultSample sample)
    {
        var sandbox = sample.SandboxId.ToString();
        var others = new Dictionary<FaultMetric, SourceReading>();
        foreach (var reading in sample.Readings)
        {
            if (SourceOf(reading.Source) is not { } source)
                continue;
            var isTotal = reading.Source == source.Source;
            if (!isTotal && !EventTypes.Contains(TypeOf(source, reading)))
            {
                var sum = others.GetValueOrDefault(source)?.Value ?? 0;
                if (reading.Value is { } value)
                    others[source] = reading with { Source = $"{source.Source}.{Other}", Value = sum > long.MaxValue - value ? long.MaxValue : sum + value, LowerBound = reading.LowerBound || others.GetValueOrDefault(source)?.LowerBound == true };
                continue;
            }
            if (reading.NullReason is not null)
                yield return new Line(Unobserved.Name, sandbox, source, reading);
            if (reading.Value is not null && (isTotal ? source.Name : source.ByType) is { } name)
                yield return new Line(name, sandbox, source, reading);
            if (reading.Latency is not null && isTotal && source.Duration is { } duration)
                yield return new Line(duration, sandbox, source, reading);
        }
        foreach (var (source, reading) in others)
            if (source.ByType is { } name)
                yield return new Line(name, sandbox, source, reading);
    }

    private static string TypeOf(FaultMetric source, SourceReading reading) => reading.Source[(source.Source.Length + 1)..];

    private static void Write(MetricText text, Line line)
    {
        var (metric, sandbox, source, reading) = line;
        var (bound, origin) = (("bound", reading.LowerBound ? "lower" : "exact"), ("origin", Lower(reading.Origin)));
        if (metric == Unobserved.Name)
            text.Add(1, ("sandbox", sandbox), ("source", reading.Source), ("reason", source.NullReasons.Contains(reading.NullReason!) ? reading.NullReason! : Other));
        else if (metric == source.Duration)
            text.Add(reading.Latency!, [("sandbox", sandbox), .. source.Labels, bound, origin]);
        else if (source.IsTime)
            text.AddMicroseconds(reading.Value!.Value, [("sandbox", sandbox), .. source.Labels, bound, origin]);
        else if (metric == source.ByType)
            text.Add(reading.Value!.Value, ("sandbox", sandbox), ("type", TypeOf(source, reading)), bound, origin);
        else
            text.Add(reading.Value!.Value, [("sandbox", sandbox), .. source.Labels, bound, origin]);
    }

    private static string Lower(Origin origin) => origin switch { Origin.Hardware => "hardware", Origin.Emulated => "emulated", _ => "simulated" };
}
