using Contracts;
using Worker.Hardware;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class SvaConditionTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private static ProbeResult Probe(ProbeOutcome outcome, string reason = "R", bool? pasid = false) =>
        new("0000:01:00.0", "1234", "11e8", outcome, reason, "said by the guest", "0xffff8000", true, true, "sent", pasid, false, false, "arm-smmu-v3", 5);

    private static (Condition Condition, Verdict? Verdict) Judge(Viommu viommu, string[] kinds, IReadOnlyList<ProbeResult>? probe, bool hasAgent = true) =>
        SvaCondition.Judge(viommu, [.. kinds.Select(k => new JudgedDevice(DeviceVerdict.IdentityOf(k).VendorId, DeviceVerdict.IdentityOf(k).DeviceId, DeviceVerdict.Emulated(k, true)))], hasAgent, probe, Now);

    public static TheoryData<Viommu, string, string, bool, ConditionStatus, string> Table => new()
    {
        // viommu, devices, what the probe said, agent in image, status, reason
        { Viommu.Smmuv3, "", "none", true, ConditionStatus.False, "NoAccelerator" },
        { Viommu.None, "", "none", true, ConditionStatus.False, "NoAccelerator" },
        { Viommu.None, "edu", "none", true, ConditionStatus.False, "NoIommuInGuest" },
        { Viommu.None, "edu", "failed", true, ConditionStatus.False, "NoIommuInGuest" },
        { Viommu.Smmuv3, "edu", "none", false, ConditionStatus.Unknown, "NoAgentInImage" },
        { Viommu.Smmuv3, "edu", "none", true, ConditionStatus.Unknown, "ProbeNotEnded" },
        { Viommu.Smmuv3, "edu", "empty", true, ConditionStatus.Unknown, "NoProbeForDevice" },
        { Viommu.Smmuv3, "nvme", "skipped", true, ConditionStatus.Unknown, "NoProbeForDevice" },
        { Viommu.Virtio, "nvme", "skipped", true, ConditionStatus.Unknown, "NoProbeForDevice" },
        { Viommu.Smmuv3, "edu", "passed", true, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid" },
        { Viommu.Virtio, "edu", "passed", true, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid" },
        { Viommu.Smmuv3, "edu", "passedUnknown", true, ConditionStatus.True, "SharedAddressProbePassedPasidUnknown" },
        { Viommu.Smmuv3, "edu", "passedPasid", true, ConditionStatus.True, "SharedAddressProbePassed" },
        { Viommu.Virtio, "edu", "passedPasid", true, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid" },
        { Viommu.Smmuv3, "edu", "failed", true, ConditionStatus.False, "DataMismatch" },
        { Viommu.Smmuv3, "edu,nvme", "passed+skipped", true, ConditionStatus.True, "SharedAddressProbePassedWithoutPasid" },
        { Viommu.Smmuv3, "edu,edu", "passed+failed", true, ConditionStatus.False, "DataMismatch" },
    };

    [Theory]
    [MemberData(nameof(Table))]
    public void Judge_ForEachCase_GivesThisCondition(Viommu viommu, string devices, string said, bool hasAgent, ConditionStatus status, string reason)
    {
        IReadOnlyList<ProbeResult>? probe = said == "none" ? null : said == "empty" ? [] : [.. said.Split('+').Select(one => one switch
        {
            "passed" => Probe(ProbeOutcome.Passed),
            "passedUnknown" => Probe(ProbeOutcome.Passed, pasid: null),
            "passedPasid" => Probe(ProbeOutcome.Passed, pasid: true),
            "failed" => Probe(ProbeOutcome.Failed, "DataMismatch"),
            _ => Probe(ProbeOutcome.Skipped, "NoProbeForDevice"),
        })];
        var (condition, verdict) = Judge(viommu, devices.Split(',', StringSplitOptions.RemoveEmptyEntries), probe, hasAgent);
        Assert.Equal((ConditionType.SvaReady, status, reason), (condition.Type, condition.Status, condition.Reason));
        Assert.Equal(devices.Length == 0, verdict is null);
        Assert.True(verdict is null || verdict.Links.Select(l => l.Link).SequenceEqual(Enum.GetValues<VerdictLinkName>()));
        Assert.True(verdict is null || verdict.Links.All(l => l.Status == LinkStatus.Pass == (l.Remedy is null)));
    }

    [Fact]
    public void Judge_WhenEduPassed_IsPassthroughOnlyForWantOfPasid()
    {
        var verdict = Judge(Viommu.Smmuv3, ["edu"], [Probe(ProbeOutcome.Passed)]).Verdict!;
        Assert.Equal((VerdictClass.PassthroughOnly, Origin.Emulated), (verdict.Class, verdict.Origin));
        Assert.Contains(verdict.Links, l => l is { Link: VerdictLinkName.Device, Status: LinkStatus.Fail, Reason: "DeviceHasNoPasid" });
        Assert.Contains(verdict.Links, l => l is { Link: VerdictLinkName.Guest, Status: LinkStatus.Pass });
    }

    [Fact]
    public void Judge_WhenTheGuestsFirmwareDemandsADirectRegion_TellsWhatToChoose()
    {
        var verdict = Judge(Viommu.Smmuv3, ["edu"], [Probe(ProbeOutcome.Failed, "GuestDirectRegion")]).Verdict!;
        var guest = verdict.Links.Single(l => l.Link == VerdictLinkName.Guest);
        Assert.Equal(("GuestDirectRegion", LinkStatus.Fail, "GuestDirectRegion"), (verdict.Reason, guest.Status, guest.Reason));
        Assert.Contains("viommu virtio", guest.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Judge_OfADeviceThatGuestsHaveUsed_DoesNotDenyIt() =>
        Assert.DoesNotContain("No guest has used", DeviceVerdict.Emulated("edu", true).Links.Single(l => l.Reason == "NotProbed").Message, StringComparison.Ordinal);

    [Fact]
    public void Judge_WhenPasidCouldNotBeRead_LinkIsUnknown() =>
        Assert.Contains(Judge(Viommu.Smmuv3, ["edu"], [Probe(ProbeOutcome.Passed, pasid: null)]).Verdict!.Links, l => l is { Link: VerdictLinkName.Device, Status: LinkStatus.Unknown });

    [Theory]
    [InlineData(null, LinkStatus.Unknown)]
    [InlineData(true, LinkStatus.Pass)]
    [InlineData(false, LinkStatus.Fail)]
    public void Emulated_VmmLinkSaysWhatQemuAnswered(bool? has, LinkStatus status) =>
        Assert.Equal(status, DeviceVerdict.Emulated("nvme", has).Links.Single(l => l.Link == VerdictLinkName.Vmm).Status);

    [Fact]
    public void Judge_WhenTheSecondDeviceIsProbed_TheVerdictIsThatOnes()
    {
        List<string> kinds = ["nvme", "edu"];
        var judged = kinds.Select(kind => new JudgedDevice(DeviceVerdict.IdentityOf(kind).VendorId, DeviceVerdict.IdentityOf(kind).DeviceId,
            DeviceVerdict.Emulated(kind, true) with { Links = [new VerdictLink(VerdictLinkName.Vmm, LinkStatus.Pass, kind, "", null), new VerdictLink(VerdictLinkName.Guest, LinkStatus.Unknown, "NotProbed", "", "")] })).ToList();
        var probe = Probe(ProbeOutcome.Passed) with { VendorId = "0x1234", DeviceId = "0x11E8" };
        Assert.Equal("edu", SvaCondition.Judge(Viommu.Smmuv3, judged, true, [probe], Now).Verdict!.Links[0].Reason);
        Assert.Equal("nvme", SvaCondition.Judge(Viommu.Smmuv3, judged, true, null, Now).Verdict!.Links[0].Reason);
    }
}
