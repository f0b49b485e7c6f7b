using Contracts;
using Worker.Agent;

namespace Worker.Faults;

// What the guest's agent tells of the guest. The guest is not trusted: a count that cannot be true is null.
// absent: Why there is no agent; null when there is one.
internal sealed class GuestFaults(AgentChannel? agent, string? absent, Origin origin) : IFaultCollector
{
    public static readonly TimeSpan SilentAfter = TimeSpan.FromSeconds(5);

    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(agent?.LatestStats, agent?.LatestStatsAt, absent, origin, now);

    internal static IEnumerable<SourceReading> Of(AgentStats? stats, DateTimeOffset? at, string? absent, Origin origin, DateTimeOffset now)
    {
        var reason = absent ?? (stats is null ? NullReasons.GuestNotReady : now - at > SilentAfter ? NullReasons.AgentSilent : null);
        // A count below zero is none. /proc/vmstat counts major faults among all.
        var major = stats?.Pgmajfault is >= 0 and var m ? m : (long?)null;
        var minor = stats?.Pgfault is >= 0 and var all && major is { } part && all >= part ? all - part : (long?)null;
        yield return Reading.Of(FaultSource.GuestMinor, minor, reason, NullReasons.NotReportedByAgent, origin);
        yield return Reading.Of(FaultSource.GuestMajor, major, reason, NullReasons.NotReportedByAgent, origin);
    }
}
