using Contracts;
using Worker.Checks;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Verdicts;

// Pure: how far shared addresses work for one physical function of a host, link by link.
// A capability that could not be read is Unknown and never a failure. PRI is information only: mainline's arm-smmu-v3 denies every page request.
public static class SvaChain
{
    private static readonly string[] NeededOptions = ["IOMMUFD", "VFIO_DEVICE_CDEV", "ARM_SMMU_V3_SVA", "ARM_SMMU_V3_IOMMUFD"];
    private static readonly Version PasidKernel = new(6, 15);
    /// <summary>NVIDIA: its driver resumes faults by an engine of the device's own, so memory need not be present.</summary>
    private const ushort VendorWithFaultEngine = 0x10DE;
    private const uint DisplayClass = 0x03;

    public static Verdict Judge(PciFunction function, HardwareInventory host, QemuFacts vmm)
    {
        var group = GroupLink(function, host);
        var stalls = StallLinks(function, host);
        var device = stalls?.Device ?? DeviceLink(function, host);
        var smmu = stalls?.Smmu ?? SmmuLink(function, host);
        VerdictLink[] links = [device, group, smmu, KernelLink(host.Kernel), VmmLink(vmm), SvaReasons.GuestUnprobed.ToLink()];
        return Conclude(function, links, stalls is not null, host.Origin);
    }

    private static Verdict Conclude(PciFunction function, VerdictLink[] links, bool stalls, Origin origin)
    {
        Verdict Of(VerdictClass found, string reason, string message) => new(found, reason, message, origin, links);
        Verdict Told(VerdictReason told) => Of(told.Class, told.Code, told.Message);
        if (links[1] is { Status: LinkStatus.Fail } blocked)
            return Of(VerdictClass.NotAssignable, blocked.Reason, blocked.Message);
        if (stalls)
            return Of(VerdictClass.HostSvaStall, SvaReasons.DeviceStalls.Code, "Processes of the host share addresses with the device; a guest that has it does not.");
        var judged = links.Where(link => link.Link != VerdictLinkName.Guest).ToList();
        if (judged.Find(link => link.Status == LinkStatus.Fail) is { } broken)
            return Of(VerdictClass.PassthroughOnly, broken.Reason, $"A guest can have the device, without shared addresses: {broken.Message}");
        if (judged.Find(link => link.Status == LinkStatus.Unknown) is { } unread)
            return Of(VerdictClass.Unknown, unread.Reason, unread.Message);
        return function.Vendor == VendorWithFaultEngine && function.ClassCode >> 16 == DisplayClass
            ? Told(VerdictReasons.DeviceResumesFaults)
            : Told(VerdictReasons.MemoryMustBePresent);
    }

    private static (VerdictLink Device, VerdictLink Smmu)? StallLinks(PciFunction function, HardwareInventory host)
    {
        var owner = function.PhysicalFunction ?? function.Address;
        var shares = host.Uacce.Any(u => u.SharesAddresses == true && (u.ParentFunction == function.Address.ToString() || u.ParentFunction == owner.ToString()));
        return shares && SmmuOf(function, host)?.Has(SmmuFeatures.Stalls) == true ? (SvaReasons.DeviceStalls.ToLink(), SvaReasons.SmmuStalls.ToLink()) : null;
    }

    private static VerdictLink DeviceLink(PciFunction function, HardwareInventory host)
    {
        var own = function.Capabilities;
        if (own.State == ConfigState.Gone)
            return SvaReasons.DeviceGone.ToLink();
        // A virtual function has ATS of its own; PASID and PRI are its physical function's.
        var physical = function.PhysicalFunction is { } address ? host.Functions.FirstOrDefault(f => f.Address == address) : function;
        if (own.Ats == Presence.Absent)
            return SvaReasons.NoAts.ToLink();
        if (physical is null)
            return SvaReasons.PhysicalFunctionUnread.ToLink();
        if (physical.Capabilities.Pasid == Presence.Absent || physical.Capabilities.PasidDetail is { WidthBits: 0 })
            return SvaReasons.NoPasid.ToLink();
        if (own.Ats == Presence.Present && physical.Capabilities.Pasid == Presence.Present)
            return SvaReasons.DeviceSharesAddresses.ToLink($"PASIDs of {physical.Capabilities.PasidDetail?.WidthBits} bits; PRI {(physical.Capabilities.Pri == Presence.Present ? "is there, but Linux denies it on SMMUv3" : "is not there")}.");
        if (own.State == ConfigState.Damaged || physical.Capabilities.State == ConfigState.Damaged)
            return SvaReasons.ConfigDamaged.ToLink();
        return (function.IsVirtual && own.State == ConfigState.Complete ? SvaReasons.PhysicalFunctionUnread : SvaReasons.ConfigTruncated).ToLink();
    }

    private static VerdictLink GroupLink(PciFunction function, HardwareInventory host)
    {
        if (host.Groups.FirstOrDefault(g => g.Number == function.IommuGroup) is not { } group)
            return SvaReasons.NoGroup.ToLink();
        if (group.HasDirectRegion is null)
            return SvaReasons.GroupUnread.ToLink();
        if (group.HasDirectRegion == true)
            return SvaReasons.GroupDirect.ToLink();
        var others = group.Functions.Where(address => address != function.Address)
            .Select(address => host.Functions.FirstOrDefault(f => f.Address == address)).OfType<PciFunction>().Where(f => !f.IsBridge).ToList();
        if (others.Count == 0)
            return SvaReasons.GroupAlone.ToLink();
        return others.Find(f => f.Driver is not null && !f.IsOnVfio) is { } used
            ? SvaReasons.GroupInUse.ToLink($"It is {used.Address} on {used.Driver}.")
            : SvaReasons.GroupFree.ToLink();
    }

    private static VerdictLink SmmuLink(PciFunction function, HardwareInventory host)
    {
        if (SmmuOf(function, host) is not { } smmu)
            return SvaReasons.NoSmmu.ToLink();
        if (!smmu.IsSmmuV3)
            return SvaReasons.NotAnSmmu.ToLink($"It is {smmu.Name}.");
        if (smmu.Features is null)
            return SvaReasons.SmmuUnread.ToLink();
        if (smmu.Has(SmmuFeatures.Nesting) == false)
            return SvaReasons.NoNesting.ToLink();
        return host.Asked.GetValueOrDefault(function.Address) switch
        {
            { SubstreamBits: 0 } => SvaReasons.NoSubstreams.ToLink(),
            _ when smmu.Has(SmmuFeatures.Ats) == false => SvaReasons.SmmuNoAts.ToLink(),
            null => SvaReasons.SubstreamsUnread.ToLink(),
            { MaxPasidBits: 0 } => SvaReasons.NoPasidHere.ToLink(),
            var told => SvaReasons.SmmuNests.ToLink($"PASIDs of {Math.Min(told.SubstreamBits, told.MaxPasidBits)} bits, addresses of {told.OutputBits}."),
        };
    }

    private static SmmuInstance? SmmuOf(PciFunction function, HardwareInventory host) => host.Smmus.FirstOrDefault(s => s.Name == function.Iommu);

    private static VerdictLink KernelLink(KernelFacts kernel)
    {
        if (kernel.Options is null || kernel.Version is null)
            return SvaReasons.KernelUnread.ToLink();
        var off = NeededOptions.Where(option => kernel.IsOn(option) == false).ToList();
        if (off.Count > 0)
            return SvaReasons.KernelOptionOff.ToLink($"Off: {string.Join(", ", off)}.");
        return kernel.Version < PasidKernel ? SvaReasons.KernelTooOld.ToLink($"This is {kernel.Release}.") : SvaReasons.KernelReady.ToLink();
    }

    private static VerdictLink VmmLink(QemuFacts vmm)
    {
        if (vmm.Version is null)
            return SvaReasons.VmmMissing.ToLink();
        if (!vmm.SmmuProperties.Contains("accel") || !vmm.SmmuProperties.Contains("ssidsize"))
            return SvaReasons.VmmNoAccel.ToLink($"This is QEMU {vmm.Version}.");
        return vmm.VfioProperties.Contains("iommufd") ? SvaReasons.VmmReady.ToLink() : SvaReasons.VmmNoIommufd.ToLink();
    }
}
