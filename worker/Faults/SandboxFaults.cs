using Contracts;

namespace Worker.Faults;

// One sample of one VM, from all its collectors. Guarantees: what is told of a source never goes back within an incarnation: a count lower than
// one shown before is shown as that one, marked a lower bound. Not thread safe: one sampler a VM.
internal sealed class SandboxFaults(Guid sandbox, int incarnation, IReadOnlyList<IFaultCollector> collectors)
{
    private readonly Dictionary<string, long> _highest = new(StringComparer.Ordinal);

    public FaultSample Sample(DateTimeOffset now) => new(sandbox, incarnation, now, [.. collectors.SelectMany(c => c.Read(now)).Select(reading => Hold(_highest, reading))]);

    internal static SourceReading Hold(Dictionary<string, long> highest, SourceReading reading)
    {
        if (reading.Value is not { } value)
            return reading;
        if (highest.TryGetValue(reading.Source, out var before) && before > value)
            return reading with { Value = before, LowerBound = true };
        highest[reading.Source] = value;
        return reading;
    }
}
