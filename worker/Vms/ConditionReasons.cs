using Contracts;
using Worker.Faults;

namespace Worker.Vms;

/// <summary>What a condition of a sandbox can say, besides how its run ended: a stable code and a sentence.</summary>
public sealed record ConditionReason(ConditionType Type, ConditionStatus Status, string Code, string Message)
{
    public Condition At(DateTimeOffset now, string? detail = null) => new(Type, Status, Code, string.IsNullOrEmpty(detail) ? Message : $"{Message} {detail}", now);
}

// The one table of these; docs/neoverse-node.md is written from it. A probe that failed gives SvaReady its own code (ProbeReasons).
public static class ConditionReasons
{
    private static readonly List<ConditionReason> Table = [];

    public static readonly ConditionReason VmmConfirmed = Add(ConditionType.VmmRunning, ConditionStatus.True, "VmmConfirmed", "The VMM runs and answers.");
    public static readonly ConditionReason ImageBeingFetched = Add(ConditionType.VmmRunning, ConditionStatus.False, "ImageBeingFetched", "Files of the image come to the node, or are read for their digests; the guest starts after that.");
    public static readonly ConditionReason ImageDelayed = Add(ConditionType.VmmRunning, ConditionStatus.False, "ImageDelayed", "A file of the image does not come to the node; it is tried again.");
    public static readonly ConditionReason DevicesPrepared = Add(ConditionType.DevicesReady, ConditionStatus.True, "DevicesPrepared", "The devices are clean and given to the guest.");
    public static readonly ConditionReason Released = Add(ConditionType.DevicesReady, ConditionStatus.False, "Released", "The devices are clean and given back.");
    public static readonly ConditionReason NotCleaned = Add(ConditionType.DevicesReady, ConditionStatus.False, "NotCleaned", "The run's devices were given back, and not all of them are clean.");
    public static readonly ConditionReason AgentReady = Add(ConditionType.GuestReady, ConditionStatus.True, "AgentReady", "The guest's user space is up.");
    public static readonly ConditionReason BootTimeout = Add(ConditionType.GuestReady, ConditionStatus.False, "BootTimeout", "The guest's agent has not said Ready in time; see the serial console.");
    public static readonly ConditionReason NoAgentToBeReady = Add(ConditionType.GuestReady, ConditionStatus.Unknown, NullReasons.NoAgentInImage, "The image has no agent that could say so.");
    public static readonly ConditionReason NoAgentUnderKvmtool = Add(ConditionType.GuestReady, ConditionStatus.Unknown, NullReasons.NoAgentUnderKvmtool, "kvmtool gives a guest no port through which an agent could say so.");
    public static readonly ConditionReason SimulatedGuestReady = Add(ConditionType.GuestReady, ConditionStatus.True, "SimulatedGuestReady", "The simulated guest has bound its process to the device; no program runs in it.");
    public static readonly ConditionReason NoAccelerator = Add(ConditionType.SvaReady, ConditionStatus.False, "NoAccelerator", "The sandbox has no accelerator whose addresses could be shared.");
    public static readonly ConditionReason NoIommuInGuest = Add(ConditionType.SvaReady, ConditionStatus.False, "NoIommuInGuest", "The guest has no IOMMU.");
    public static readonly ConditionReason KvmtoolHidesCapabilities = Add(ConditionType.SvaReady, ConditionStatus.False, "KvmtoolHidesCapabilities", "kvmtool shows a guest neither ATS nor PASID nor PRI of a device, and no IOMMU.");
    public static readonly ConditionReason NoAgentToProbe = Add(ConditionType.SvaReady, ConditionStatus.Unknown, NullReasons.NoAgentInImage, "The image has no agent that could probe.");
    public static readonly ConditionReason ProbeNotEnded = Add(ConditionType.SvaReady, ConditionStatus.Unknown, "ProbeNotEnded", "The guest's probe has not ended yet.");
    public static readonly ConditionReason NoProbeForDevice = Add(ConditionType.SvaReady, ConditionStatus.Unknown, ProbeReasons.NoProbeForDevice, "The agent found no function that it could probe.");
    public static readonly ConditionReason ProbePassed = Add(ConditionType.SvaReady, ConditionStatus.True, "SharedAddressProbePassed", "The device worked on a process's own addresses, by its PASID.");
    public static readonly ConditionReason ProbePassedWithoutPasid = Add(ConditionType.SvaReady, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid", "The device worked on a process's own addresses, mapped ahead for the whole function: one address space at a time, and no faults that could be resumed.");
    public static readonly ConditionReason ProbePassedPasidUnknown = Add(ConditionType.SvaReady, ConditionStatus.True, "SharedAddressProbePassedPasidUnknown", ProbePassedWithoutPasid.Message);
    public static readonly ConditionReason GuestEnded = Add(ConditionType.SvaReady, ConditionStatus.Unknown, "GuestEnded", "The guest has ended.");
    public static readonly ConditionReason FaultStorm = Add(ConditionType.FaultStorm, ConditionStatus.True, StormReasons.Storm, "Faults come at the rate of the storm policy or faster.");
    public static readonly ConditionReason NoFaultStorm = Add(ConditionType.FaultStorm, ConditionStatus.False, "NoFaultStorm", "Faults come more slowly than the storm policy's rate.");
    public static readonly ConditionReason StormOnlyLowerBound = Add(ConditionType.FaultStorm, ConditionStatus.Unknown, "StormOnlyLowerBound", "The rate that is seen is no storm, but more may have happened.");
    public static readonly ConditionReason StormNotJudged = Add(ConditionType.FaultStorm, ConditionStatus.Unknown, "StormNotJudged", "The first window of the storm policy has not passed yet.");
    public static readonly ConditionReason StormUnobserved = Add(ConditionType.FaultStorm, ConditionStatus.Unknown, "StormUnobserved", "What the storm policy counts could not be read without a break for two windows.");
    public static readonly ConditionReason EndedInStorm = Add(ConditionType.FaultStorm, ConditionStatus.False, StormReasons.EndedInStorm, "The run ended in a fault storm.");

    public static IReadOnlyList<ConditionReason> All => Table;

    private static ConditionReason Add(ConditionType type, ConditionStatus status, string code, string message)
    {
        var reason = new ConditionReason(type, status, code, message);
        Table.Add(reason);
        return reason;
    }
}
