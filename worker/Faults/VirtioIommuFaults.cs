using Contracts;

namespace Worker.Faults;

// What QEMU's trace tells of the virtio-iommu that the guest sees, by reason: the events that its kernel was told. One for which the guest had no buffer QEMU does not trace.
// Assigned functions are not among them: their addresses are translated by the host, whose SMMU has its own events. Everything else as ViommuTrace says.
internal sealed class VirtioIommuFaults(Viommu viommu, ViommuTrace? trace) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(viommu, trace?.Reading);

    // seen: Null when nothing traces.
    internal static IEnumerable<SourceReading> Of(Viommu viommu, ViommuReading? seen) => Reading.ByType(
        FaultSource.VirtioIommuEvents, (seen?.Counts ?? ViommuCounts.Zero).Events, viommu != Viommu.Virtio ? NullReasons.NoVirtioIommu : seen is null ? NullReasons.TraceOff : seen.EventsReason,
        Origin.Emulated, seen?.Counts.EventsLowerBound == true);
}
