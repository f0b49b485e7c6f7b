using Contracts;

namespace Worker.Faults;

// One sample of one VM, from all its collectors. Guarantees: what is told of a source never goes back within an incarnation, whichever worker tells it (HighestCounts).
// Not thread safe: one sampler a VM.
internal sealed class SandboxFaults(Guid sandbox, int incarnation, IReadOnlyList<IFaultCollector> collectors, HighestCounts highest)
{
    public FaultSample Sample(DateTimeOffset now)
    {
        SourceReading[] readings = [.. collectors.SelectMany(c => c.Read(now)).Select(highest.Hold)];
        highest.Store();
        return new FaultSample(sandbox, incarnation, now, readings);
    }
}
