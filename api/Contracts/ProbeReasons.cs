namespace Contracts;

/// <summary>Codes of what the agent's shared-address probe found in a guest. A probe that failed gives its code to the SvaReady condition and the verdict of
/// its sandbox. The one table of these; docs/neoverse-node.md is written from it.</summary>
public static class ProbeReasons
{
    public const string SharedAddressesMatched = "SharedAddressesMatched", NoProbeForDevice = "NoProbeForDevice", NoIommuGroup = "NoIommuGroup",
        DriverOverrideFailed = "DriverOverrideFailed", UnbindFailed = "UnbindFailed", BindFailed = "BindFailed", RestoreFailed = "RestoreFailed",
        VfioUnavailable = "VfioUnavailable", VfioApiMismatch = "VfioApiMismatch", Type1Unsupported = "Type1Unsupported",
        GroupOpenFailed = "GroupOpenFailed", GroupStatusFailed = "GroupStatusFailed", GroupNotViable = "GroupNotViable",
        GuestDirectRegion = "GuestDirectRegion", SetContainerFailed = "SetContainerFailed", SetIommuFailed = "SetIommuFailed", DeviceOpenFailed = "DeviceOpenFailed",
        RegionInfoFailed = "RegionInfoFailed", RegionUnmappable = "RegionUnmappable", RegionMapFailed = "RegionMapFailed",
        BusMasterFailed = "BusMasterFailed", BufferFailed = "BufferFailed", DmaMapFailed = "DmaMapFailed", DmaUnmapFailed = "DmaUnmapFailed",
        DeviceTimeout = "DeviceTimeout", DeviceWriteMismatch = "DeviceWriteMismatch", DeviceReadMismatch = "DeviceReadMismatch",
        UnmappedAccessReachedMemory = "UnmappedAccessReachedMemory", ReasonUnreadable = "ReasonUnreadable";

    public static readonly IReadOnlyList<(string Code, string Meaning)> All =
    [
        (SharedAddressesMatched, "The device read and wrote a process's buffer at the process's own addresses, and an access to an unmapped one changed nothing."),
        (NoProbeForDevice, "The agent cannot drive this device's DMA engine."),
        (NoIommuGroup, "In the guest the function has no IOMMU group: nothing translates its addresses."),
        (DriverOverrideFailed, "The guest's kernel did not take the name of the driver for the function."),
        (UnbindFailed, "The function's driver in the guest did not let go of it."),
        (BindFailed, "The function did not come to vfio-pci in the guest."),
        (RestoreFailed, "The function could not be given back to its driver in the guest."),
        (VfioUnavailable, "The guest's kernel has no VFIO, or its modules are not loaded."),
        (VfioApiMismatch, "The guest's VFIO speaks another version."),
        (Type1Unsupported, "The guest's VFIO has no type1 v2 IOMMU."),
        (GroupOpenFailed, "The function's IOMMU group could not be opened in the guest."),
        (GroupStatusFailed, "The group's state could not be asked for in the guest."),
        (GroupNotViable, "The guest has another function of the same group on a driver."),
        (GuestDirectRegion, "The guest's firmware tables demand a 1:1 mapping for the function, so the guest's kernel gives it to no user space."),
        (SetContainerFailed, "The group could not be added to a container in the guest."),
        (SetIommuFailed, "The guest's container takes no IOMMU."),
        (DeviceOpenFailed, "The function could not be opened through VFIO in the guest."),
        (RegionInfoFailed, "The function's regions could not be asked for in the guest."),
        (RegionUnmappable, "The function's registers cannot be mapped in the guest."),
        (RegionMapFailed, "Mapping the function's registers failed in the guest."),
        (BusMasterFailed, "The function could not be let master the bus in the guest."),
        (BufferFailed, "The guest has no memory for the probe's buffer."),
        (DmaMapFailed, "The buffer could not be mapped for the device at its own virtual address."),
        (DmaUnmapFailed, "The buffer's mapping could not be taken away."),
        (DeviceTimeout, "The device did not end a transfer in time."),
        (DeviceWriteMismatch, "The device's write did not reach the buffer at its virtual address."),
        (DeviceReadMismatch, "The device did not read the bytes that lie at the buffer's virtual address."),
        (UnmappedAccessReachedMemory, "The device wrote to an address that nobody had mapped."),
        (ReasonUnreadable, "The guest gave a reason that is no code."),
    ];
}
