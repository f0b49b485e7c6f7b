using Contracts;

namespace Worker.Faults;

// What QEMU's trace tells of the SMMU that the guest sees. accelerated: Its stage 1 is the host's: then events are the hardware's, which may merge them (STE.MEV),
// and so are the look-ups, which QEMU does not see. host: The origin of what the host's hardware does.
internal sealed class QemuSmmuFaults(Viommu viommu, ViommuTrace? trace, bool accelerated, Origin host) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(viommu, trace?.Reading, accelerated, host);

    // seen: Null when nothing traces.
    internal static IEnumerable<SourceReading> Of(Viommu viommu, ViommuReading? seen, bool accelerated, Origin host)
    {
        var none = viommu != Viommu.Smmuv3 ? NullReasons.NoSmmu : seen is null ? NullReasons.TraceOff : null;
        var origin = accelerated ? host : Origin.Emulated;
        var smmu = none is null ? seen : null;
        var counts = smmu?.Counts ?? ViommuCounts.Zero;
        foreach (var events in Reading.ByType(FaultSource.SmmuEvents, counts.Events, none ?? smmu!.EventsReason, origin, counts.EventsLowerBound || accelerated))
            yield return events;
        yield return Reading.Of(FaultSource.SmmuTlbHits, counts.TlbHits, none ?? (accelerated ? NullReasons.TlbInHardware : smmu!.HitsReason), NullReasons.TraceOff, origin, counts.TlbLowerBound);
        yield return Reading.Of(FaultSource.SmmuTlbMisses, counts.TlbMisses, none ?? (accelerated ? NullReasons.TlbInHardware : smmu!.MissesReason), NullReasons.TraceOff, origin, counts.TlbLowerBound);
        yield return Reading.Null(FaultSource.SmmuEventsLost, none is NullReasons.NoSmmu ? none : NullReasons.NotToldByVmm, origin);
    }
}
