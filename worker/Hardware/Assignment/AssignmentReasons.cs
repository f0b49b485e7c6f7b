using Contracts;

namespace Worker.Hardware.Assignment;

/// <summary>A reason in one case.</summary>
public sealed record DeviceProblem(string Reason, string Message, string Remedy)
{
    /// <summary>Whole milliseconds: the API hands the time back when the quarantine is lifted, and must not have rounded it.</summary>
    public Failure ToFailure(DateTimeOffset now) => new(Reason, Message, Remedy, DateTimeOffset.FromUnixTimeMilliseconds(now.ToUnixTimeMilliseconds()));
}

// Why a function is not given to a guest. The one table of these codes; docs/neoverse-node.md is written from it. Facts: Documentation/driver-api/vfio.rst, Documentation/ABI/testing/sysfs-bus-pci,
// drivers/vfio/pci, PCI Express Base Specification (FLR, ACS), NVM Express Base Specification (Format NVM).
public static class AssignmentReasons
{
    private static readonly List<Reason> Table = [];

    public static readonly Reason Missing = Add("DeviceMissing", "The node has no such device.", "Look for a hot-unplug or a link error in the host's kernel log; create the sandbox again, so that it is placed anew.");
    public static readonly Reason ScanHangs = Add("DeviceScanHangs", "Reading the host's PCI functions does not come back: they are shown as last seen, and none is given to a guest.", "Look in the host's kernel log for an unbinding or a reset that hangs, and for what still uses that device; if nothing does, reboot the node.");
    public static readonly Reason Busy = Add("DeviceBusy", "The device is still held by another sandbox.", "Wait until that sandbox has been cleaned.");
    public static readonly Reason NotEndpoint = Add("NotAnEndpoint", "The function is a bridge: it stays with the host.", "Name an endpoint in Worker__Passthrough.");
    public static readonly Reason Gone = Add("DeviceDoesNotAnswer", "The function's configuration space reads as all ones.", "Look for link errors in the kernel's log; power the slot off and on, then release the device.");
    public static readonly Reason NoGroup = Add("NoIommuGroup", "No IOMMU translates for the function.", "Switch the SMMU on in the firmware (an IORT or an iommu-map must name this root complex).");
    public static readonly Reason DirectRegion = Add("GroupHasDirectRegion", "Firmware demands a 1:1 mapping for the group; the kernel refuses to give it to user space.", "Ask the vendor for firmware without the reserved memory region (RMR) of this device.");
    public static readonly Reason RegionsUnread = Add("ReservedRegionsUnread", "The group's reserved regions could not be read.", "Run the worker as root.");
    public static readonly Reason BootStorage = Add("StorageInUse", "The host has mounted a disk of the function or of its IOMMU group, or swaps or builds on it.", "Unmount it and take it out of /etc/fstab, or offer another device.");
    public static readonly Reason StorageHangs = Add("StorageDoesNotAnswer", "A disk of the function or of its IOMMU group cannot be opened: it does not answer.", "Read the host's kernel log (nvme timeouts); power the slot or the node off and on, then release the device.");
    public static readonly Reason NetworkInUse = Add("NetworkInUse", "A network interface of the function or of its IOMMU group is up.", "Set the interface down and take it out of the network's configuration, or offer another device.");
    public static readonly Reason HasVirtualFunctions = Add("VirtualFunctionsActive", "The physical function has virtual functions, which would go with it.", "Offer the virtual functions, or write 0 to its sriov_numvfs.");
    public static readonly Reason SharesGroup = Add("SharesGroup", "Another offered device is in the same IOMMU group: one sandbox at a time has a group.", "Offer one device of the group; the others are parked with it. A slot whose path has ACS would part them.");
    public static readonly Reason NoReset = Add("NoUsableReset", "The kernel has no way to reset this function alone, so one tenant's state would reach the next.", "Use a device with FLR or a vendor's reset, alone on its bus.");
    public static readonly Reason StorageNotErasable = Add("StorageCannotBeErased", "The function is a storage controller that the worker cannot erase between tenants; only NVMe it can.", "Offer an NVMe controller.");
    public static readonly Reason NoVfioDriver = Add("VfioDriverMissing", "The kernel has no such VFIO driver loaded.", "Load it (modprobe vfio-pci) and have it loaded at boot.");
    public static readonly Reason NoErasingDriver = Add("NvmeDriverMissing", "The kernel has no nvme driver loaded, by which the controller is erased.", "Load it (modprobe nvme) and have it loaded at boot.");
    public static readonly Reason UnbindHangs = Add("UnbindHangs", "The present driver does not let go of the device.", "Find what still uses the device; if nothing does, reboot the node. Then release the device.");
    public static readonly Reason UnbindRefused = Add("UnbindRefused", "The kernel refuses to unbind the device from its driver.", "Read the host's kernel log, then release the device.");
    public static readonly Reason BindFailed = Add("BindFailed", "The device did not come to the driver that it was bound to.", "Read the host's kernel log, then release the device.");
    public static readonly Reason ResetFailed = Add("ResetFailed", "The device could not be reset.", "Power the slot or the node off and on, then release the device.");
    public static readonly Reason ResetUnverified = Add("ResetNotVerified", "After its reset the device was not what it had been, or still mastered the bus.", "Power the slot or the node off and on, then release the device.");
    public static readonly Reason NotErased = Add("DeviceNotErased", "What a tenant had stored on the device could not be erased, or was still there when read back.", "Erase it by hand (nvme format), then release the device.");
    public static readonly Reason NamespacesOutOfReach = Add("NamespacesOutOfReach", "The controller has namespaces that are not attached to it, or none: what it holds cannot be erased.", "With nvme-cli, on the nvme driver: attach them (nvme attach-ns), or delete them and create and attach one (nvme create-ns); then release the device.");
    public static readonly Reason NoVfioDevice = Add("VfioDeviceMissing", "VFIO made no device node of the function.", "Build the kernel with VFIO_DEVICE_CDEV and IOMMUFD, or with VFIO_GROUP and VFIO_CONTAINER; a static /dev needs the nodes made.");
    public static readonly Reason NodeNotGiven = Add("VfioDeviceNotGiven", "The device node could not be given to the VM's user.", "Run the worker as root.");
    public static readonly Reason NotOffered = Add("NotOfferedAnyMore", "Neither the node's settings nor its ledger tell how the device is cleaned, or it vanished: it was left as its last tenant left it.", "Offer it again in Worker__Passthrough and release it, or erase it by hand.");
    public static readonly Reason LedgerUnreadable = Add("LedgerUnreadable", "What the worker had noted of the device cannot be read.", "Look at the device, then release it.");

    public static IReadOnlyList<Reason> All => Table;

    public static DeviceProblem With(this Reason reason, string? detail = null) => new(reason.Code, reason.Say(detail), reason.Remedy);

    private static Reason Add(string code, string message, string remedy)
    {
        var reason = new Reason(code, message, remedy);
        Table.Add(reason);
        return reason;
    }
}
