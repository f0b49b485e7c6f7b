using Contracts;
using Worker.Hardware.Verdicts;

namespace Worker.Vms;

/// <summary>A sandbox's device as its node judges it. Both ids are hexadecimal.</summary>
public sealed record JudgedDevice(string VendorId, string DeviceId, Verdict Verdict);

// Pure: from what the guest's probe reported to the SvaReady condition and the verdict of a sandbox.
// A capability that could not be read stays Unknown.
public static class SvaCondition
{
    private const string ReadProbe = "Read the sandbox's console and the probe's result.";

    // devices: The sandbox's, in the order of the spec.
    // probe: Null until the agent's probe has ended.
    public static (Condition Condition, Verdict? Verdict) Judge(
        Viommu viommu, IReadOnlyList<JudgedDevice> devices, bool hasAgent, IReadOnlyList<ProbeResult>? probe, DateTimeOffset now)
    {
        if (devices.Count == 0)
            return (ConditionReasons.NoAccelerator.At(now), null);
        // A sandbox has one verdict: of the device that was probed, or of its first.
        var spoken = probe?.FirstOrDefault(p => p.Outcome == ProbeOutcome.Failed) ?? probe?.FirstOrDefault(p => p.Outcome == ProbeOutcome.Passed);
        var standing = (devices.FirstOrDefault(d => spoken is not null && Same(d.VendorId, spoken.VendorId) && Same(d.DeviceId, spoken.DeviceId)) ?? devices[0]).Verdict;
        if (viommu == Viommu.None)
        {
            var none = Replace(standing, SvaReasons.NoIommuInGuest.ToLink());
            return (ConditionReasons.NoIommuInGuest.At(now),
                none with { Class = VerdictClass.PassthroughOnly, Reason = SvaReasons.NoIommuInGuest.Code, Message = "The device works without address translation by the guest." });
        }
        if (!hasAgent)
            return (ConditionReasons.NoAgentToProbe.At(now), standing);
        if (probe is null)
            return (ConditionReasons.ProbeNotEnded.At(now), standing);
        if (probe.FirstOrDefault(p => p.Outcome == ProbeOutcome.Failed) is { } failed)
        {
            var verdict = Replace(WithDevice(standing, failed), new VerdictLink(VerdictLinkName.Guest, LinkStatus.Fail, failed.Reason, failed.Message, RemedyOf(failed.Reason)));
            return (new Condition(ConditionType.SvaReady, ConditionStatus.False, failed.Reason, failed.Message, now), verdict with { Reason = failed.Reason, Message = failed.Message });
        }
        if (probe.FirstOrDefault(p => p.Outcome == ProbeOutcome.Passed) is { } passed)
            return Passed(viommu, standing, passed, now);
        var skipped = ConditionReasons.NoProbeForDevice.At(now);
        return (probe.Count > 0 ? skipped with { Message = probe[0].Message } : skipped, Replace(standing, SvaReasons.NoProbeForDevice.ToLink()));
    }

    private static string RemedyOf(string reason) => reason == SvaReasons.GuestDirectRegion.Code ? SvaReasons.GuestDirectRegion.Remedy! : ReadProbe;

    private static bool Same(string id, string told) => id.Equals(told.StartsWith("0x", StringComparison.Ordinal) ? told[2..] : told, StringComparison.OrdinalIgnoreCase);

    private static (Condition, Verdict?) Passed(Viommu viommu, Verdict standing, ProbeResult passed, DateTimeOffset now)
    {
        var verdict = Replace(WithDevice(standing, passed), SvaReasons.GuestShares.ToLink($"It is {passed.IovaEqualsVa}."));
        if (passed.Pasid == true && viommu == Viommu.Smmuv3)
            return (ConditionReasons.ProbePassed.At(now) with { Message = passed.Message }, verdict);
        var reason = passed.Pasid is null ? ConditionReasons.ProbePassedPasidUnknown : ConditionReasons.ProbePassedWithoutPasid;
        return (reason.At(now), verdict with { Class = VerdictClass.PassthroughOnly, Reason = reason.Code, Message = reason.Message });
    }

    private static Verdict WithDevice(Verdict verdict, ProbeResult probe) => Replace(verdict, probe.Pasid switch
    {
        false => SvaReasons.NoPasid.ToLink("So the guest sees it."),
        true => SvaReasons.PasidInGuest.ToLink(),
        null => SvaReasons.PasidUnknownInGuest.ToLink(),
    });

    private static Verdict Replace(Verdict verdict, VerdictLink link) =>
        verdict with { Links = [.. verdict.Links.Select(l => l.Link == link.Link ? link : l)] };
}
