using System.Globalization;
using Contracts;

namespace Worker.Faults.Tracing;

// What the host's kernel traces of one VM: events of its SMMU and recoverable page faults of the VM's functions, and stage 2 aborts of its vCPU threads.
// underKvm: Whether the guest runs under KVM. vmm: The VMM's process, or why there is none. host: The origin of what the host's hardware does.
internal sealed class TracedFaults(VmTracing tracing, bool underKvm, Func<(int? Pid, string? Reason)> vmm, Origin host) : IFaultCollector
{
    public bool HasFunctions => tracing.HasFunctions;

    public IEnumerable<SourceReading> Read(DateTimeOffset now)
    {
        var (pid, gone) = vmm();
        var threads = !underKvm ? [] : pid is { } known ? ThreadsOf(known) : null;
        tracing.Traced.Update(threads);
        return HostSmmuFaults.Of(tracing.SmmuEvents(), host)
            .Concat(Pages(tracing.HasFunctions, tracing.Traced.PageFaults, tracing.Traced.Counts, host))
            .Append(Guest(underKvm, threads is null ? gone ?? NullReasons.VmmGone : null, tracing.Traced.GuestFaults, tracing.Traced.Counts.GuestFaults, host));
    }

    internal static IEnumerable<SourceReading> Pages(bool hasFunctions, TracedState state, TracedCounts counts, Origin host)
    {
        var reason = hasFunctions ? state.Reason : NullReasons.NoAssignedDevice;
        SourceReading Of(string source, long count, LatencyHistogram? latency = null) => Reading.Of(source, count, reason, "", host, !state.IsExact, latency);
        yield return Of(FaultSource.IoPageFaults, counts.PageFaults, counts.Times);
        yield return Of(FaultSource.IoPageFaultsSuccess, counts.Success);
        yield return Of(FaultSource.IoPageFaultsInvalid, counts.Invalid);
        yield return Of(FaultSource.IoPageFaultsFailure, counts.Failure);
        // arm-smmu-v3 drops a full queue's requests without a word that names their function.
        yield return Reading.Null(FaultSource.IoPageRequestsLost, hasFunctions ? NullReasons.NotToldByKernel : NullReasons.NoAssignedDevice, host);
    }

    internal static SourceReading Guest(bool underKvm, string? gone, TracedState state, long count, Origin host) =>
        Reading.Of(FaultSource.KvmGuestFaults, count, (underKvm ? null : NullReasons.NotUnderKvm) ?? gone ?? state.Reason, "", host, !state.IsExact);

    /// <summary>Null when they cannot be listed, as those of a process that has ended.</summary>
    private static List<string>? ThreadsOf(int pid)
    {
        try
        {
            return Directory.EnumerateDirectories(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/task")).Select(folder => Path.GetFileName(folder)).ToList() is [_, ..] threads ? threads : null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
