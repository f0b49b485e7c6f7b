using Contracts;

namespace Worker.Faults;

// Events of the host's SMMU for the sandbox's functions. The kernel's log limits its own rate: a count of it is never more than a lower bound.
internal sealed class HostSmmuFaults(HostSmmuCounter? counter, Origin host) : IFaultCollector
{
    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(counter?.Read() ?? HostSmmuReading.None, host);

    internal static IEnumerable<SourceReading> Of(HostSmmuReading seen, Origin host) => Reading.ByType(FaultSource.HostSmmuEvents, seen.Events, seen.Reason, host, lowerBound: true);
}
