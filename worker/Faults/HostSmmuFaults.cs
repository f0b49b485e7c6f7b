using Contracts;

namespace Worker.Faults;

// Events of the host's SMMU for the sandbox's functions, as readings.
internal static class HostSmmuFaults
{
    internal static IEnumerable<SourceReading> Of(HostSmmuReading seen, Origin host) => Reading.ByType(FaultSource.HostSmmuEvents, seen.Events, seen.Reason, host, seen.LowerBound);
}
