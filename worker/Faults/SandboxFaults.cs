using Contracts;

namespace Worker.Faults;

// One sample of one VM, from all its collectors. Guarantees: what is told of a source never goes back within an incarnation. A count that does was reset or is a lie:
// the highest one shown is shown on, and from then on it is a lower bound for good, for nobody knows what was counted before the reset. Not thread safe: one sampler a VM.
internal sealed class SandboxFaults(Guid sandbox, int incarnation, IReadOnlyList<IFaultCollector> collectors)
{
    private readonly HighestCounts _highest = new();

    public FaultSample Sample(DateTimeOffset now) => new(sandbox, incarnation, now, [.. collectors.SelectMany(c => c.Read(now)).Select(_highest.Hold)]);
}

// What was shown of each source so far.
internal sealed class HighestCounts
{
    private readonly Dictionary<string, (long Value, bool WentBack, LatencyHistogram? Latency)> _shown = new(StringComparer.Ordinal);

    public SourceReading Hold(SourceReading reading)
    {
        if (reading.Value is not { } value)
            return reading;
        var before = _shown.GetValueOrDefault(reading.Source, (value, false, null));
        var wentBack = before.WentBack || value < before.Value;
        var latency = before.Latency is { } past && (reading.Latency is null || reading.Latency.Since(past) is null) ? past : reading.Latency;
        _shown[reading.Source] = (Math.Max(value, before.Value), wentBack, latency);
        return reading with { Value = Math.Max(value, before.Value), LowerBound = reading.LowerBound || wentBack, Latency = latency };
    }
}
