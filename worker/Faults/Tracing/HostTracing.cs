using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Hardware.Pci;
using Worker.Vms;

namespace Worker.Faults.Tracing;

/// <summary>What the host's kernel tells of guests, by tracing and in its log.</summary>
internal sealed class HostTracing(HostSmmuEvents log, KernelTrace trace, TimeProvider time, ILogger logger)
{
    /// <summary>Of a VM that is about to be started: nothing is counted that was before.</summary>
    public VmTracing Begin(RuntimeDirectory directory, SandboxSpec spec)
    {
        File.Delete(LogState(directory));
        var functions = FunctionsOf(spec);
        return Of(directory, spec, functions, TracedVm.Begin(trace, functions, TraceState(directory), Trouble(directory)));
    }

    /// <summary>Of a VM that ran before this worker.</summary>
    public VmTracing GoOn(RuntimeDirectory directory, SandboxSpec spec) =>
        Of(directory, spec, FunctionsOf(spec), TracedVm.GoOn(trace, FunctionsOf(spec), TraceState(directory), Trouble(directory)));

    private VmTracing Of(RuntimeDirectory directory, SandboxSpec spec, IReadOnlyList<PciAddress> functions, TracedVm traced) => new(
        functions.Count > 0, traced, functions.Count == 0 ? null : log.Track(functions, LogState(directory)), merges: spec.Viommu == Viommu.Smmuv3 && functions.Count > 0);

    private RareWarning Trouble(RuntimeDirectory directory) => new(time, logger, directory.FullPath);

    private static IReadOnlyList<PciAddress> FunctionsOf(SandboxSpec spec) =>
        [.. spec.Devices.Select(d => PciAddress.TryParse(d, out var address) ? address : (PciAddress?)null).OfType<PciAddress>()];

    private static string LogState(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "host-smmu.state");

    private static string TraceState(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "traced.state");
}

/// <summary>One VM's part of it. For one sampler.</summary>
/// <param name="hasFunctions">Whether the VM has functions of the host.</param>
/// <param name="traced">Its counts by tracing.</param>
/// <param name="logged">Its SMMU's events by the kernel's log; null where it has no functions.</param>
/// <param name="merges">Whether the SMMU may merge events of its functions: the driver sets STE.MEV for a nested stage 1.</param>
internal sealed class VmTracing(bool hasFunctions, TracedVm traced, HostSmmuCounter? logged, bool merges)
{
    public bool HasFunctions => hasFunctions;

    public TracedVm Traced => traced;

    public HostSmmuReading SmmuEvents() => logged is null ? HostSmmuReading.None : Joined(traced.SmmuEvents, traced.Counts.SmmuEvents, logged.Read(), merges);

    /// <summary>Two counts of the same events since the guest's start: the log's, which is always a lower bound, and the trace's, which is one after a gap.
    /// Neither is ever above the truth and neither goes back, so the larger of each type is as good as can be known; they are never added. Whatever the trace claims,
    /// it is exact only while it has all that the log has: a probe that counts nothing would otherwise lend its word to the log's count.</summary>
    internal static HostSmmuReading Joined(TracedState state, IReadOnlyDictionary<string, long> traced, HostSmmuReading logged, bool merges) =>
        state.Reason is not null && logged.Reason is not null
            ? logged
            : SmmuEventNames.Larger(traced, logged.Events) is var larger && larger.Values.Sum() > traced.Values.Sum()
                ? new HostSmmuReading(larger, null)
                : new HostSmmuReading(larger, null) { LowerBound = merges || !state.IsExact || logged.MayHaveLost };
}
