using Contracts;

namespace Worker.Faults;

/// <summary>Everything that one sample is made from. <c>StatsAt</c>: when the agent's statistics arrived; <c>Vmm</c>: null when the process is gone;
/// <c>Smmu</c>: null when nothing traces.</summary>
internal sealed record FaultInputs(
    bool HasAgent, AgentStats? Stats, DateTimeOffset? StatsAt, (long Minor, long Major)? Vmm, Viommu Viommu, Acceleration Acceleration, SmmuReading? Smmu, HostSmmuReading HostSmmu, Origin HostOrigin);

// Pure: what was observed to readings. A value that cannot be observed is null with a reason, never 0.
internal static class FaultReadings
{
    public static readonly TimeSpan SilentAfter = TimeSpan.FromSeconds(5);

    public static IReadOnlyList<SourceReading> Of(FaultInputs seen, DateTimeOffset now) => [.. Guest(seen, now), .. Vmm(seen), .. Smmu(seen), .. HostSmmu(seen)];

    private static IEnumerable<SourceReading> Guest(FaultInputs seen, DateTimeOffset now)
    {
        var origin = seen.Acceleration == Acceleration.Kvm ? seen.HostOrigin : Origin.Emulated;
        var reason = !seen.HasAgent ? NullReasons.NoAgentInImage
            : seen.Stats is null ? NullReasons.GuestNotReady
            : now - seen.StatsAt > SilentAfter ? NullReasons.AgentSilent : null;
        // The guest says what it likes: a count below zero is none. /proc/vmstat counts major faults among all.
        var major = seen.Stats?.Pgmajfault is >= 0 and var m ? m : (long?)null;
        var minor = seen.Stats?.Pgfault is >= 0 and var all && major is { } part && all >= part ? all - part : (long?)null;
        yield return Of(FaultSource.GuestMinor, minor, reason, NullReasons.NotReportedByAgent, origin);
        yield return Of(FaultSource.GuestMajor, major, reason, NullReasons.NotReportedByAgent, origin);
    }

    private static IEnumerable<SourceReading> Vmm(FaultInputs seen)
    {
        yield return Of(FaultSource.VmmMinor, seen.Vmm?.Minor, null, NullReasons.VmmGone, seen.HostOrigin);
        yield return Of(FaultSource.VmmMajor, seen.Vmm?.Major, null, NullReasons.VmmGone, seen.HostOrigin);
    }

    private static IEnumerable<SourceReading> Smmu(FaultInputs seen)
    {
        var none = seen.Viommu != Viommu.Smmuv3 ? NullReasons.NoSmmu : seen.Smmu is null ? NullReasons.TraceOff : null;
        // Behind an accelerated SMMU events are the hardware's, which may merge them (STE.MEV), and so are the look-ups, which QEMU does not see.
        var accelerated = seen.HostSmmu.Reason != NullReasons.NoAssignedDevice;
        var origin = accelerated ? seen.HostOrigin : Origin.Emulated;
        var smmu = none is null ? seen.Smmu : null;
        var counts = smmu?.Counts ?? SmmuCounts.Zero;
        yield return Of(FaultSource.SmmuEvents, counts.Total, none ?? smmu!.EventsReason, NullReasons.TraceOff, origin, counts.EventsLowerBound || accelerated);
        if (smmu is { EventsReason: null })
            foreach (var (type, count) in counts.Events.OrderBy(e => e.Key, StringComparer.Ordinal))
                yield return Of($"{FaultSource.SmmuEvents}.{type}", count, null, NullReasons.TraceOff, origin, counts.EventsLowerBound || accelerated);
        yield return Of(FaultSource.SmmuTlbHits, counts.TlbHits, none ?? (accelerated ? NullReasons.TlbInHardware : smmu!.HitsReason), NullReasons.TraceOff, origin, counts.TlbLowerBound);
        yield return Of(FaultSource.SmmuTlbMisses, counts.TlbMisses, none ?? (accelerated ? NullReasons.TlbInHardware : smmu!.MissesReason), NullReasons.TraceOff, origin, counts.TlbLowerBound);
    }

    /// <summary>The kernel's log limits its own rate: a count of it is never more than a lower bound.</summary>
    private static IEnumerable<SourceReading> HostSmmu(FaultInputs seen)
    {
        var (events, reason) = seen.HostSmmu;
        yield return Of(FaultSource.HostSmmuEvents, events.Values.Sum(), reason, NullReasons.NoAssignedDevice, seen.HostOrigin, lowerBound: true);
        if (reason is null)
            foreach (var (type, count) in events.OrderBy(e => e.Key, StringComparer.Ordinal))
                yield return Of($"{FaultSource.HostSmmuEvents}.{type}", count, null, NullReasons.NoAssignedDevice, seen.HostOrigin, lowerBound: true);
    }

    /// <summary>The value, unless a reason hides it; <paramref name="otherwise"/> where there is neither.</summary>
    private static SourceReading Of(string source, long? value, string? reason, string otherwise, Origin origin, bool lowerBound = false) =>
        reason is null && value is { } shown
            ? new SourceReading(source, shown, null, lowerBound, origin)
            : new SourceReading(source, null, reason ?? otherwise, false, origin);
}
