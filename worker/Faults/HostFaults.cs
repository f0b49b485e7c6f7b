using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Faults.Tracing;
using Worker.Hardware;
using Worker.Hardware.Pci;
using Worker.Vms;

namespace Worker.Faults;

// What a node's host can tell of its VMs, whatever VMM runs them: one observation a VM, from the files of its directory where an earlier worker has begun it.
// Guarantees: nothing of an earlier tenancy is counted. Assumes: Begin before each start of a guest. On a crash: as each collector says.
internal sealed class HostFaults(HostTree tree, HostTracing tracing, Origin origin, TimeProvider time, ILogger log)
{
    public HostTree Tree => tree;
    public Origin Origin => origin;

    /// <summary>Before a new guest: what its directory keeps is of another, and nothing is traced that was before.</summary>
    public VmTracing Begin(RuntimeDirectory directory, SandboxSpec spec)
    {
        foreach (var file in (string[])[AerState(directory), PmuState(directory)])
            File.Delete(file);
        return tracing.Begin(directory, spec);
    }

    /// <summary>Of a guest that an earlier worker has started.</summary>
    public VmTracing GoOn(RuntimeDirectory directory, SandboxSpec spec) => tracing.GoOn(directory, spec);

    /// <param name="launch">Of the VM.</param>
    /// <param name="adopted">Whether an earlier worker has started it.</param>
    /// <param name="traced">By Begin or GoOn.</param>
    public HostObservation Observe(VmLaunch launch, bool adopted, TracedFaults traced)
    {
        var functions = launch.Spec.Devices.Select(d => PciAddress.TryParse(d, out var address) ? address : (PciAddress?)null).OfType<PciAddress>().ToList();
        if (functions.Count == 0)
            return new HostObservation(launch.Cgroup, traced, null, null, origin, time);
        KeptTallies Tallies(string path, bool endsWithWorker) => new(path, launch.Incarnation, adopted, endsWithWorker, time, log);
        return new HostObservation(
            launch.Cgroup, traced, new AerCounter(tree, functions, Tallies(AerState(launch.Directory), false)),
            new SmmuPmuCounter(tree, functions, Tallies(PmuState(launch.Directory), true), PerfCounter.Open, time, log), origin, time);
    }

    private static string AerState(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "aer.state");
    private static string PmuState(RuntimeDirectory directory) => Path.Combine(directory.FullPath, "smmu-pmu.state");
}

/// <summary>What the host tells of one VM. Null counters: it has no function of the host.</summary>
internal sealed class HostObservation : IDisposable
{
    private readonly SmmuPmuCounter? _pmu;

    public HostObservation(VmCgroup? cgroup, TracedFaults traced, AerCounter? aer, SmmuPmuCounter? pmu, Origin origin, TimeProvider time)
    {
        (HasAssignedDevice, _pmu) = (traced.HasFunctions, pmu);
        var (errors, translations) = (aer is null ? null : RepeatedLook<SourceCounts>.Blocking(time, aer.Look), pmu is null ? null : RepeatedLook<SourceCounts>.Blocking(time, pmu.Look));
        Collectors = [new CgroupFaults(cgroup, origin), traced, new SmmuPmuFaults(translations, origin), new AerFaults(errors, origin)];
        Beside = [.. new[] { errors, translations }.OfType<RepeatedLook<SourceCounts>>().Select(look => (Func<CancellationToken, Task>)look.RunAsync)];
    }

    public bool HasAssignedDevice { get; }
    public IReadOnlyList<IFaultCollector> Collectors { get; }

    /// <summary>What is to be run beside, as long as the VM is observed.</summary>
    public IReadOnlyList<Func<CancellationToken, Task>> Beside { get; }

    public void Dispose() => _pmu?.Dispose();
}
