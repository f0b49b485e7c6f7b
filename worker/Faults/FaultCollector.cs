using Contracts;
using Worker.Agent;

namespace Worker.Faults;

// One reading of every source of one VM. Guarantees: what a guest says of itself never goes back within an incarnation: a count lower than
// one shown before is shown as that one, marked a lower bound. Not thread safe: one sampler a VM.
internal sealed class FaultCollector(
    Guid sandbox, int incarnation, int vmmPid, bool hasAgent, Viommu viommu, Acceleration acceleration, AgentChannel agent, SmmuTrace? trace,
    HostSmmuCounter? hostSmmu, Origin hostOrigin)
{
    private readonly ProcessFaults _vmm = new(vmmPid);
    private readonly Dictionary<string, long> _highest = new(StringComparer.Ordinal);

    public FaultSample Sample(DateTimeOffset now)
    {
        var seen = new FaultInputs(hasAgent, agent.LatestStats, agent.LatestStatsAt, _vmm.Read(), viommu, acceleration, trace?.Reading, hostSmmu?.Read() ?? HostSmmuReading.None, hostOrigin);
        return new FaultSample(sandbox, incarnation, now, [.. FaultReadings.Of(seen, now).Select(reading => Hold(_highest, reading))]);
    }

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
