using Contracts;
using Worker.Agent;
using Worker.Vms;

namespace Worker.Faults;

// One reading of every source of one VM. A value that cannot be observed now is null with a reason, never 0.
public sealed class FaultCollector(
    Guid sandbox, int incarnation, int vmmPid, bool hasAgent, Viommu viommu, Acceleration acceleration, AgentChannel agent, SmmuTrace? trace)
{
    private static readonly TimeSpan SilentAfter = TimeSpan.FromSeconds(5);
    private readonly Origin _guestOrigin = acceleration == Acceleration.Kvm ? Origin.Hardware : Origin.Emulated;

    public FaultSample Sample(DateTimeOffset now) => new(sandbox, incarnation, now, [.. Guest(now), .. Vmm(), .. Smmu()]);

    private IEnumerable<SourceReading> Guest(DateTimeOffset now)
    {
        var stats = agent.LatestStats;
        var reason = !hasAgent ? "NoAgentInImage"
            : stats is null ? "GuestNotReady"
            : now - agent.LatestStatsAt > SilentAfter ? "AgentSilent" : null;
        // /proc/vmstat counts major faults among all.
        var minor = stats is { Pgfault: { } all, Pgmajfault: { } major } ? Math.Max(0, all - major) : (long?)null;
        yield return Of(FaultSource.GuestMinor, minor, reason ?? "NotReportedByAgent", _guestOrigin, reason is not null);
        yield return Of(FaultSource.GuestMajor, stats?.Pgmajfault, reason ?? "NotReportedByAgent", _guestOrigin, reason is not null);
    }

    private IEnumerable<SourceReading> Vmm()
    {
        var faults = ProcessIdentity.ReadFaults(vmmPid);
        yield return Of(FaultSource.VmmMinor, faults?.Minor, "VmmGone", Origin.Hardware, false);
        yield return Of(FaultSource.VmmMajor, faults?.Major, "VmmGone", Origin.Hardware, false);
    }

    private IEnumerable<SourceReading> Smmu()
    {
        var counts = trace is { On: true } ? trace.Counts : null;
        var reason = viommu != Viommu.Smmuv3 ? "NoSmmu" : "TraceOff";
        var bound = counts?.LowerBound ?? false;
        yield return Of(FaultSource.SmmuEvents, counts?.Total, reason, Origin.Emulated, false, bound);
        foreach (var (type, count) in counts?.Events ?? new Dictionary<string, long>())
            yield return Of($"{FaultSource.SmmuEvents}.{type}", count, reason, Origin.Emulated, false, bound);
        var tlb = trace is { WithTlb: true } ? counts : null;
        yield return Of(FaultSource.SmmuTlbHits, tlb?.TlbHits, reason, Origin.Emulated, false, bound);
        yield return Of(FaultSource.SmmuTlbMisses, tlb?.TlbMisses, reason, Origin.Emulated, false, bound);
    }

    private static SourceReading Of(string source, long? value, string reason, Origin origin, bool hidden, bool lowerBound = false) =>
        value is { } seen && !hidden ? new SourceReading(source, seen, null, lowerBound, origin) : new SourceReading(source, null, reason, false, origin);
}
