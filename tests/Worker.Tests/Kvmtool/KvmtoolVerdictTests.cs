using Contracts;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

public sealed class KvmtoolVerdictTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private static Verdict Standing(VerdictClass verdict, LinkStatus group = LinkStatus.Pass) => new(verdict, "Before", "As it was.", Origin.Hardware,
        [.. Enum.GetValues<VerdictLinkName>().Select(link => new VerdictLink(link, link == VerdictLinkName.IommuGroup ? group : LinkStatus.Pass, "Fine", "", null))]);

    [Theory]
    [InlineData(VerdictClass.GuestSvaDeviceFaults, LinkStatus.Pass, VerdictClass.PassthroughOnly, "KvmtoolHidesCapabilities")]
    [InlineData(VerdictClass.GuestSvaPrefaultOnly, LinkStatus.Pass, VerdictClass.PassthroughOnly, "KvmtoolHidesCapabilities")]
    [InlineData(VerdictClass.HostSvaStall, LinkStatus.Pass, VerdictClass.PassthroughOnly, "KvmtoolHidesCapabilities")]
    [InlineData(VerdictClass.PassthroughOnly, LinkStatus.Pass, VerdictClass.PassthroughOnly, "KvmtoolHidesCapabilities")]
    [InlineData(VerdictClass.Unknown, LinkStatus.Pass, VerdictClass.PassthroughOnly, "KvmtoolHidesCapabilities")]
    [InlineData(VerdictClass.Unknown, LinkStatus.Unknown, VerdictClass.Unknown, "Before")]
    [InlineData(VerdictClass.NotAssignable, LinkStatus.Fail, VerdictClass.NotAssignable, "Before")]
    public void Of_AStandingVerdict_IsPassthroughAtMost(VerdictClass before, LinkStatus group, VerdictClass after, string reason)
    {
        var verdict = KvmtoolVerdict.Of(Standing(before, group));
        Assert.Equal((after, reason), (verdict.Class, verdict.Reason));
        var vmm = verdict.Links.Single(link => link.Link == VerdictLinkName.Vmm);
        Assert.Equal((LinkStatus.Fail, "KvmtoolHidesCapabilities"), (vmm.Status, vmm.Reason));
        Assert.NotNull(vmm.Remedy);
        Assert.Equal(6, verdict.Links.Count);
    }

    [Fact]
    public void Judge_WithAndWithoutDevices()
    {
        var (condition, verdict) = KvmtoolVerdict.Judge([new JudgedDevice("10de", "2342", Standing(VerdictClass.GuestSvaDeviceFaults))], Now);
        Assert.Equal((ConditionStatus.False, "KvmtoolHidesCapabilities", VerdictClass.PassthroughOnly), (condition.Status, condition.Reason, verdict!.Class));
        (condition, verdict) = KvmtoolVerdict.Judge([], Now);
        Assert.Equal(("NoAccelerator", null), (condition.Reason, verdict));
    }
}
