using Contracts;
using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Pci;

namespace Worker.Faults;

// What a simulation has told, all of origin simulated. What it has no part for is null: the simulator's own page faults are not its guest's.
// told: The last status and why nothing of it is shown, if so.
internal sealed class SimulatedFaults(Viommu viommu, Func<(SimulationStatus? Status, string? Reason)> told) : IFaultCollector
{
    /// <summary>What belongs to a guest, a process of the host or a host with its functions.</summary>
    private static readonly string[] Absent = [.. FaultMetricTable.Rows.Select(m => m.Source).Except([
        FaultSource.GuestMinor, FaultSource.SmmuEvents, FaultSource.SmmuEventsLost, FaultSource.SmmuTlbHits, FaultSource.SmmuTlbMisses, FaultSource.VirtioIommuEvents,
        FaultSource.IoPageFaults, FaultSource.IoPageFaultsSuccess, FaultSource.IoPageFaultsInvalid, FaultSource.IoPageFaultsFailure, FaultSource.IoPageRequestsLost, FaultSource.AtsRequests, FaultSource.AtsHits])];
    private static readonly string[] OfAssignedDevice = [FaultSource.HostSmmuEvents, FaultSource.HostSmmuTlbMisses, FaultSource.PciCorrectable, FaultSource.PciNonFatal, FaultSource.PciFatal];

    public IEnumerable<SourceReading> Read(DateTimeOffset now)
    {
        var (status, reason) = told();
        return Of(status, reason, viommu);
    }

    // status: Null while nothing was told. reason: Why nothing of it is shown.
    internal static IEnumerable<SourceReading> Of(SimulationStatus? status, string? reason, Viommu viommu)
    {
        var (smmu, pages, ats) = (viommu == Viommu.Smmuv3, status?.Faults != FaultModel.Mapped && viommu == Viommu.Smmuv3, status?.Faults == FaultModel.Pri);
        var counted = status?.Counters;
        SourceReading Read(string source, long? value, string? none = null, LatencyHistogram? latency = null) => (none ?? reason) is { } why
            ? new SourceReading(source, null, why, false, Origin.Simulated)
            : value is >= 0
                ? new SourceReading(source, value, null, false, Origin.Simulated, latency is { IsWellFormed: true } ? latency : null)
                : new SourceReading(source, null, NullReasons.NotReportedByAgent, false, Origin.Simulated);
        yield return Read(FaultSource.GuestMinor, counted?.GuestFaults);
        foreach (var absent in Absent)
            yield return Read(absent, null, OfAssignedDevice.Contains(absent) ? NullReasons.NoAssignedDevice : NullReasons.NotSimulated);
        var noSmmu = smmu ? null : NullReasons.NoSmmu;
        yield return Read(FaultSource.SmmuEvents, counted?.Events, noSmmu);
        yield return Read(FaultSource.VirtioIommuEvents, counted?.Events, smmu ? NullReasons.NoVirtioIommu : null);
        if (reason is null)
            foreach (var (type, count) in Reading.Known(status!.Events.Where(e => IsType(e.Key) && e.Value >= 0).Take(EventTypes).ToDictionary()).OrderBy(e => e.Type, StringComparer.Ordinal))
                yield return Read($"{(smmu ? FaultSource.SmmuEvents : FaultSource.VirtioIommuEvents)}.{type}", count);
        yield return Read(FaultSource.SmmuEventsLost, counted?.EventsLost, noSmmu);
        yield return Read(FaultSource.SmmuTlbHits, counted?.TlbHits, noSmmu);
        yield return Read(FaultSource.SmmuTlbMisses, counted?.TlbMisses, noSmmu);
        // While nothing was told, which of the two it is is not known either.
        var (noPages, noAts) = (pages ? null : NullReasons.NotSimulated, status is null || ats ? noSmmu : NullReasons.NotSimulated);
        yield return Read(FaultSource.IoPageFaults, counted?.PageFaults, noPages, status?.PageFaultLatency);
        yield return Read(FaultSource.IoPageFaultsSuccess, counted?.PageFaultsSuccess, noPages);
        yield return Read(FaultSource.IoPageFaultsInvalid, counted?.PageFaultsInvalid, noPages);
        yield return Read(FaultSource.IoPageFaultsFailure, counted?.PageFaultsFailure, noPages);
        yield return Read(FaultSource.IoPageRequestsLost, counted?.PageRequestsLost, noAts);
        yield return Read(FaultSource.AtsRequests, counted?.AtsRequests, noAts);
        yield return Read(FaultSource.AtsHits, counted?.AtsTranslated, noAts);
    }

    private const int EventTypes = 32, MaxTypeLength = 40;

    /// <summary>The file is the VM's user's: names of types go into samples.</summary>
    private static bool IsType(string type) => type.Length is > 0 and <= MaxTypeLength && type.All(c => char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) || c == '_');
}
