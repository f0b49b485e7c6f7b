using Contracts;

namespace Worker.Faults;

// Pure: the sources of a VM under kvmtool. Only the VMM's own faults and what the host's SMMU tells can be seen: it has no port for an agent, and its guest no IOMMU.
internal static class KvmtoolFaults
{
    // confirmed: Which process lkvm is, is known. vmm: Null when it is gone.
    public static FaultSample Sample(Guid sandbox, int incarnation, bool confirmed, (long Minor, long Major)? vmm, HostSmmuReading hostSmmu, Origin hostOrigin, DateTimeOffset now)
    {
        var seen = new FaultInputs(false, null, null, vmm, Viommu.None, Acceleration.Kvm, null, hostSmmu, hostOrigin);
        return new FaultSample(sandbox, incarnation, now, [.. FaultReadings.Of(seen, now).Select(reading => reading.NullReason switch
        {
            NullReasons.NoAgentInImage => reading with { NullReason = NullReasons.NoAgentUnderKvmtool },
            NullReasons.VmmGone when !confirmed => reading with { NullReason = NullReasons.VmmNotConfirmed },
            _ => reading,
        })]);
    }
}
