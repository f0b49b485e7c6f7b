using Contracts;

namespace Worker.Hardware;

// Pure: how far shared addresses work for a device that QEMU emulates, as far as the node itself can know.
// The guest's probe completes the chain (Vms/SvaCondition.cs).
public static class DeviceVerdict
{
    /// <summary>PCI identity of a kind, four hexadecimal digits each.</summary>
    public static (string VendorId, string DeviceId) IdentityOf(string kind) => kind == "edu" ? ("1234", "11e8") : ("1b36", "0010");

    // vmmHasDevice: Null when the VMM could not be asked.
    public static Verdict Emulated(string kind, bool? vmmHasDevice)
    {
        var links = new VerdictLink[]
        {
            kind == "edu"
                ? new(VerdictLinkName.Device, LinkStatus.Fail, "DeviceHasNoPasid", "QEMU's edu model is a conventional PCI function: it has no PASID, ATS or PRI.", "Use a device with ATS and PASID on a Neoverse node.")
                : new(VerdictLinkName.Device, LinkStatus.Unknown, "CapabilitiesNotRead", "The function exists only inside a guest; its capabilities have not been read there.", "Start a sandbox with it and read the probe's result."),
            new(VerdictLinkName.IommuGroup, LinkStatus.Pass, "AloneBehindRootPort", "Each emulated accelerator is alone behind a root port of its own.", null),
            new(VerdictLinkName.Smmu, LinkStatus.Fail, "SmmuHasNoSubstreams", "QEMU's emulated SMMUv3 offers no substream IDs, ATS, PRI or stall.", "Use a node with a physical SMMUv3."),
            new(VerdictLinkName.Kernel, LinkStatus.Pass, "NotInvolved", "The host's kernel takes no part in the DMA of an emulated device.", null),
            vmmHasDevice switch
            {
                true => new(VerdictLinkName.Vmm, LinkStatus.Pass, "DeviceModelPresent", $"The installed QEMU has the {kind} model.", null),
                false => new(VerdictLinkName.Vmm, LinkStatus.Fail, "DeviceModelMissing", $"The installed QEMU has no {kind} model.", "Install qemu-system-arm from Debian."),
                null => new(VerdictLinkName.Vmm, LinkStatus.Unknown, "VmmNotProbed", "QEMU could not be asked for its devices.", "Install qemu-system-arm."),
            },
            new(VerdictLinkName.Guest, LinkStatus.Unknown, "NotProbed", "No guest has probed the device yet.", "Start a sandbox with it."),
        };
        return new Verdict(VerdictClass.PassthroughOnly, "EmulatedDevice",
            "An emulated accelerator behind an emulated SMMU: shared addresses work by mapping ahead, without PASID.", Origin.Emulated, links);
    }
}
