using System.Text.Json.Serialization;
using Contracts;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;

namespace Worker.Vms.Simulated;

/// <summary>What a sandbox's user data says of its simulation: a JSON object; every field may be left out. docs/simulated.md describes them.</summary>
internal sealed record SimulationRequest(WorkloadKind? Workload, long? Seed, FaultModel? Faults, int? GranuleKib, int? Stage2GranuleKib, int? AccessesPerSecond, int? WorkingSetMib, int? PageRequestQueue)
{
    public const int MostAccessesPerSecond = 200_000;
    private const int DefaultAccessesPerSecond = 20_000, DefaultWorkingSetMib = 16, MostWorkingSetMib = 64, MostMemoryMib = 1024;

    /// <summary>Pure; a <see cref="VmStartException"/> for a text that is no such object, or one that cannot be simulated.</summary>
    public static MachineModel ModelOf(SandboxSpec spec)
    {
        var request = SimulationText.Read(spec.UserData);
        var virtio = spec.Viommu == Viommu.Virtio;
        if (request.Faults == FaultModel.Mapped || (virtio && request.Faults is not null))
            throw Refused(virtio ? "faults: virtio-iommu has none to choose." : "faults takes pri or stall.");
        var shift1 = ShiftOf(request.GranuleKib, "granuleKib");
        var shift2 = ShiftOf(request.Stage2GranuleKib, "stage2GranuleKib");
        var perSecond = request.AccessesPerSecond ?? DefaultAccessesPerSecond;
        if (perSecond is < 1 or > MostAccessesPerSecond)
            throw Refused($"accessesPerSecond takes 1 to {MostAccessesPerSecond}.");
        var workingSet = request.WorkingSetMib ?? DefaultWorkingSetMib;
        if (workingSet is < 1 or > MostWorkingSetMib || !int.IsPow2(workingSet) || workingSet * 4 > spec.MemoryMib)
            throw Refused($"workingSetMib takes a power of two of 1 to {MostWorkingSetMib}, and no more than a quarter of the memory.");
        if (request.Seed is < 0)
            throw Refused("seed takes 0 or more.");
        var queue = request.PageRequestQueue ?? 1 << SmmuSizes.Default.PageRequestBits;
        if (queue < 2 || queue > 1 << SmmuSizes.Default.PageRequestBits || !int.IsPow2(queue))
            throw Refused($"pageRequestQueue takes a power of two of 2 to {1 << SmmuSizes.Default.PageRequestBits}.");
        var device = AcceleratorModel.Default with { Faults = virtio ? FaultModel.Mapped : request.Faults ?? FaultModel.Pri, Interval = 1_000_000_000L / perSecond };
        return new MachineModel((ulong)(request.Seed ?? 1), request.Workload ?? WorkloadKind.Streaming, device, spec.Devices.Count, shift1, shift2, Math.Min(spec.MemoryMib, MostMemoryMib), workingSet << (20 - shift1))
        {
            Smmu = SmmuSizes.Default with { PageRequestBits = int.Log2(queue) },
        };
    }

    private static int ShiftOf(int? kib, string field) => kib switch { null or 4 => 12, 64 => 16, _ => throw Refused($"{field} takes 4 or 64.") };

    internal static VmStartException Refused(string detail) => new(StartReasons.SimulationUnreadable, detail);
}

/// <summary>What a simulation tells its worker, in a file. <c>BootId</c>: made at its start; <c>Sequence</c> grows with each telling; <c>Ended</c>: the last one, after it was asked
/// to end. <c>Events</c>: by type.</summary>
internal sealed record SimulationStatus(
    string BootId, long Sequence, long VirtualNanoseconds, bool Ended, IReadOnlyList<ProbeResult> Probe, MachineCounters Counters, IReadOnlyDictionary<string, long> Events, LatencyHistogram PageFaultLatency, FaultModel Faults);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(SimulationStatus))]
[JsonSerializable(typeof(MachineModel))]
internal sealed partial class SimulationJson : JsonSerializerContext;
