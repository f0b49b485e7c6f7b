using Contracts;
using Worker.Hardware.Verdicts;

namespace Worker.Vms.Kvmtool;

// Pure: what becomes of a device's verdict under kvmtool, whose guest sees the first 256 bytes of the configuration space only
// (vfio/pci.c): no ATS, no PASID, no PRI, and no IOMMU. It can be passed through or not, and no more.
public static class KvmtoolVerdict
{
    public static Verdict Of(Verdict standing)
    {
        var links = standing.Links.Select(link => link.Link == VerdictLinkName.Vmm ? SvaReasons.KvmtoolHidesCapabilities.ToLink() : link).ToList();
        var group = standing.Links.FirstOrDefault(link => link.Link == VerdictLinkName.IommuGroup)?.Status;
        // Whether it can be passed through at all is the group's to say, and stays what it was.
        if (standing.Class == VerdictClass.NotAssignable || group == LinkStatus.Fail || (standing.Class == VerdictClass.Unknown && group != LinkStatus.Pass))
            return standing with { Links = links };
        return standing with { Class = VerdictClass.PassthroughOnly, Reason = SvaReasons.KvmtoolHidesCapabilities.Code, Message = SvaReasons.KvmtoolHidesCapabilities.Message, Links = links };
    }

    // devices: The sandbox's, in the order of the spec; it has one verdict, that of the first.
    public static (Condition Condition, Verdict? Verdict) Judge(IReadOnlyList<JudgedDevice> devices, DateTimeOffset now) => devices.Count == 0
        ? (ConditionReasons.NoAccelerator.At(now), null)
        : (ConditionReasons.KvmtoolHidesCapabilities.At(now), Of(devices[0].Verdict));
}
