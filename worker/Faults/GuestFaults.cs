using Contracts;
using Worker.Agent;

namespace Worker.Faults;

// What the guest's agent tells of the guest. The guest is not trusted: a count that cannot be true is null, and so is all of a part whose shape is not the
// protocol's; nothing that a guest says is longer than the table of sources and MaxTypes types of events.
// absent: Why there is no agent; null when there is one. cpu: The origin of what the guest's processors do. smmu: The origin of what its SMMU does.
internal sealed class GuestFaults(AgentChannel? agent, string? absent, Viommu viommu, Origin cpu, Origin smmu) : IFaultCollector
{
    public static readonly TimeSpan SilentAfter = TimeSpan.FromSeconds(5);
    /// <summary>So that neither a sum of types nor a store of them overflows.</summary>
    private const long MostEvents = 1L << 53;

    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(agent?.Latest, absent, viommu, cpu, smmu);

    internal static IEnumerable<SourceReading> Of(ToldStats? told, string? absent, Viommu viommu, Origin cpu, Origin smmu)
    {
        var reason = absent ?? (told is null ? NullReasons.GuestNotReady : told.Age > SilentAfter ? NullReasons.AgentSilent : null);
        var stats = reason is null ? told!.Stats : null;
        return [.. Cpu(stats, reason, cpu), .. Workload(stats?.Workload, reason, cpu), .. Events(stats?.SmmuLog, viommu != Viommu.Smmuv3 ? NullReasons.NoSmmu : reason, smmu), .. PageFaults(stats?.PageFaults, reason, smmu)];
    }

    private static IEnumerable<SourceReading> Cpu(AgentStats? stats, string? reason, Origin origin)
    {
        // A count below zero is none. /proc/vmstat counts major faults among all.
        var major = Count(stats?.Pgmajfault);
        var minor = Count(stats?.Pgfault) is { } all && major is { } part && all >= part ? all - part : (long?)null;
        yield return Reading.Of(FaultSource.GuestMinor, minor, reason, NullReasons.NotReportedByAgent, origin);
        yield return Reading.Of(FaultSource.GuestMajor, major, reason, NullReasons.NotReportedByAgent, origin);
    }

    private static IEnumerable<SourceReading> Workload(AgentWorkload? told, string? reason, Origin origin)
    {
        var none = reason ?? Why(told?.Reason, AgentReasons.NoWorkload, NullReasons.NoWorkload);
        yield return Reading.Of(FaultSource.WorkloadMinor, Count(told?.MinorFaults), none, NullReasons.NotReportedByAgent, origin, told?.LowerBound ?? false);
        yield return Reading.Of(FaultSource.WorkloadMajor, Count(told?.MajorFaults), none, NullReasons.NotReportedByAgent, origin, told?.LowerBound ?? false);
    }

    private static IEnumerable<SourceReading> Events(AgentSmmuLog? told, string? reason, Origin origin)
    {
        var events = told?.Events is { Count: <= AgentSmmuLog.MaxTypes } some && some.All(e => IsType(e.Key) && e.Value is >= 0 and <= MostEvents) ? some : null;
        // The kernel limits the rate of its log, so what is there is never known to be all.
        return Reading.ByType(FaultSource.GuestSmmuEvents, events ?? new Dictionary<string, long>(), reason ?? Why(told?.Reason, AgentReasons.LogUnreadable, NullReasons.GuestLogUnreadable) ?? (events is null ? NullReasons.NotReportedByAgent : null), origin, lowerBound: true);
    }

    private static IEnumerable<SourceReading> PageFaults(AgentPageFaults? told, string? reason, Origin origin)
    {
        var latency = told?.Latency is { IsWellFormed: true } whole ? whole : null;
        // Latencies that cannot be true take the part's word with them.
        var none = reason ?? Why(told?.Reason, AgentReasons.TracingMissing, NullReasons.GuestTracingMissing) ?? (told?.Latency is not null && latency is null ? NullReasons.NotReportedByAgent : null);
        SourceReading Of(string source, long? value, LatencyHistogram? latency = null) =>
            Reading.Of(source, Count(value), none, NullReasons.NotReportedByAgent, origin, told?.LowerBound ?? false, latency);
        yield return Of(FaultSource.GuestIoPageFaults, told?.Raised, latency);
        yield return Of(FaultSource.GuestIoPageFaultsSuccess, told?.Success);
        yield return Of(FaultSource.GuestIoPageFaultsInvalid, told?.Invalid);
        yield return Of(FaultSource.GuestIoPageFaultsFailure, told?.Failure);
    }

    private static long? Count(long? told) => told is >= 0 ? told : null;

    /// <summary>What an agent gives as its reason is the one of that part or none: no text of a guest becomes a reason.</summary>
    private static string? Why(string? told, string known, string ours) => told is null ? null : told == known ? ours : NullReasons.NotReportedByAgent;

    private static bool IsType(string text) =>
        text.Length is > 0 and <= AgentSmmuLog.MaxTypeLength && text.All(c => char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) || c == '_');
}
