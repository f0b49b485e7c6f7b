using Contracts;

namespace Worker.Vms;

/// <summary>A sandbox's device as its node judges it. Both ids are hexadecimal.</summary>
public sealed record JudgedDevice(string VendorId, string DeviceId, Verdict Verdict);

// Pure: from what the guest's probe reported to the SvaReady condition and the verdict of a sandbox.
// A capability that could not be read stays Unknown.
public static class SvaCondition
{
    public const string PassedWithoutPasid = "SharedAddressProbePassedWithoutPasid";

    // devices: The sandbox's, in the order of the spec.
    // probe: Null until the agent's probe has ended.
    public static (Condition Condition, Verdict? Verdict) Judge(
        Viommu viommu, IReadOnlyList<JudgedDevice> devices, bool hasAgent, IReadOnlyList<ProbeResult>? probe, DateTimeOffset now)
    {
        Condition Of(ConditionStatus status, string reason, string message) => new(ConditionType.SvaReady, status, reason, message, now);

        if (devices.Count == 0)
            return (Of(ConditionStatus.False, "NoAccelerator", "The sandbox has no accelerator whose addresses could be shared."), null);
        // A sandbox has one verdict: of the device that was probed, or of its first.
        var spoken = probe?.FirstOrDefault(p => p.Outcome == ProbeOutcome.Failed) ?? probe?.FirstOrDefault(p => p.Outcome == ProbeOutcome.Passed);
        var standing = (devices.FirstOrDefault(d => spoken is not null && Same(d.VendorId, spoken.VendorId) && Same(d.DeviceId, spoken.DeviceId)) ?? devices[0]).Verdict;
        if (viommu == Viommu.None)
        {
            var none = Replace(standing, Fail(VerdictLinkName.Guest, "NoIommuInGuest",
                "The guest sees no IOMMU, so a device cannot be given a process's addresses.", "Create the sandbox with viommu smmuv3 or virtio."));
            return (Of(ConditionStatus.False, "NoIommuInGuest", "The guest has no IOMMU."),
                none with { Class = VerdictClass.PassthroughOnly, Reason = "NoIommuInGuest", Message = "The device works without address translation by the guest." });
        }
        if (!hasAgent)
            return (Of(ConditionStatus.Unknown, "NoAgentInImage", "The image has no agent that could probe."), standing);
        if (probe is null)
            return (Of(ConditionStatus.Unknown, "ProbeNotEnded", "The guest's probe has not ended yet."), standing);
        if (probe.FirstOrDefault(p => p.Outcome == ProbeOutcome.Failed) is { } failed)
        {
            var verdict = Replace(WithDevice(standing, failed), Fail(VerdictLinkName.Guest, failed.Reason, failed.Message, "Read the sandbox's console and the probe's result."));
            return (Of(ConditionStatus.False, failed.Reason, failed.Message), verdict with { Reason = failed.Reason, Message = failed.Message });
        }
        if (probe.FirstOrDefault(p => p.Outcome == ProbeOutcome.Passed) is { } passed)
            return Passed(viommu, standing, passed, Of);
        var skipped = probe.Count > 0 ? probe[0] : null;
        return (Of(ConditionStatus.Unknown, "NoProbeForDevice", skipped?.Message ?? "The agent found no function that it could probe."),
            Replace(standing, new VerdictLink(VerdictLinkName.Guest, LinkStatus.Unknown, "NoProbeForDevice",
                "The agent cannot drive this device's DMA engine.", "Run the device's own driver and a workload of its vendor in the guest.")));
    }

    private static bool Same(string id, string told) => id.Equals(told.StartsWith("0x", StringComparison.Ordinal) ? told[2..] : told, StringComparison.OrdinalIgnoreCase);

    private static (Condition, Verdict?) Passed(
        Viommu viommu, Verdict standing, ProbeResult passed, Func<ConditionStatus, string, string, Condition> of)
    {
        var guest = new VerdictLink(VerdictLinkName.Guest, LinkStatus.Pass, "SharedAddressProbePassed",
            $"The device read and wrote a process's buffer at the process's own address {passed.IovaEqualsVa}.", null);
        var verdict = Replace(WithDevice(standing, passed), guest);
        if (passed.Pasid == true && viommu == Viommu.Smmuv3)
            return (of(ConditionStatus.True, "SharedAddressProbePassed", passed.Message), verdict);
        var reason = passed.Pasid is null ? "SharedAddressProbePassedPasidUnknown" : PassedWithoutPasid;
        const string explanation = "The device worked on a process's own addresses, mapped ahead for the whole function: "
            + "one address space at a time, and no faults that could be resumed.";
        return (of(ConditionStatus.True, reason, explanation),
            verdict with { Class = VerdictClass.PassthroughOnly, Reason = reason, Message = explanation });
    }

    private static Verdict WithDevice(Verdict verdict, ProbeResult probe) => probe.Pasid switch
    {
        false => Replace(verdict, Fail(VerdictLinkName.Device, "DeviceHasNoPasid",
            "The function has no PASID capability in the guest.", "Use a device with ATS and PASID on a Neoverse node.")),
        true => Replace(verdict, new VerdictLink(VerdictLinkName.Device, LinkStatus.Pass, "DeviceHasPasid", "The function has a PASID capability.", null)),
        null => Replace(verdict, new VerdictLink(VerdictLinkName.Device, LinkStatus.Unknown, "PasidUnknown",
            "The function's extended configuration space could not be read.", "Read it as root on the node.")),
    };

    private static VerdictLink Fail(VerdictLinkName link, string reason, string message, string remedy) => new(link, LinkStatus.Fail, reason, message, remedy);

    private static Verdict Replace(Verdict verdict, VerdictLink link) =>
        verdict with { Links = [.. verdict.Links.Select(l => l.Link == link.Link ? link : l)] };
}
