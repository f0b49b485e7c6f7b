namespace Worker.Vms;

// Why a guest is not started. One table; docs/neoverse-node.md is written from it. What is wrong with its image stands in NodeReasons,
// with a device in AssignmentReasons.
public static class StartReasons
{
    private static readonly List<Reason> Table = [];

    public static readonly Reason VmmMissing = Add("VmmMissing", "The node has not the sandbox's VMM.", "Install it on the node (qemu-system-arm), or create the sandbox with another vmm or on another node.");
    public static readonly Reason CpuModelMissing = Add("CpuModelMissing", "The node's QEMU has no neoverse-n1.", "Install QEMU 7.2 or newer on the node.");
    public static readonly Reason ModelBesideAcceleratedSmmu = Add("ModelBesideAcceleratedSmmu", "Emulated and assigned devices cannot stand behind one accelerated SMMU.", "Ask for devices of one origin, or choose viommu virtio or none.");
    public static readonly Reason ViommuUnsupported = Add("ViommuUnsupported", "The VMM cannot give a guest this IOMMU.", "Choose one that the node reports; with vmm kvmtool viommu none, for kvmtool has no other.");
    public static readonly Reason FirmwareMissing = Add("FirmwareMissing", "The guest needs UEFI, for an accelerated SMMU or to start from a disk, and the node has none for arm64 guests.", "Install qemu-efi-aarch64 on the node; or choose viommu virtio or none, and an image that has a kernel.");
    public static readonly Reason IommufdMissing = Add("IommufdMissing", "The host's kernel or the VMM has no iommufd.", "Use a kernel with IOMMUFD and VFIO_DEVICE_CDEV; Debian's own leave them off.");
    public static readonly Reason NestingUnavailable = Add("NestingUnavailable", "The SMMU in front of the device, or the host's driver for it, does not nest.", "Choose viommu virtio or none; the driver nests when built with ARM_SMMU_V3_IOMMUFD, on MMU-700 r1p1 from Linux 7.1 on.");
    public static readonly Reason SmmuValuesUnknown = Add("SmmuValuesUnknown", "iommufd did not tell the values of the SMMU in front of the device.", "Read the worker's check on the node; choose viommu virtio or none.");
    public static readonly Reason SmmuOutputTooNarrow = Add("SmmuOutputTooNarrow", "The SMMU in front of the device puts out fewer address bits than QEMU's SMMU takes.", "Choose viommu virtio or none.");
    public static readonly Reason NoHugePagesLeft = Add("NoHugePagesLeft", "The kernel has not enough huge pages left for the guest's memory.", "Have more set aside on the node (nr_hugepages), see what else on it uses them, or create the sandbox with hugePages none.");
    public static readonly Reason HugePagesMissing = Add("HugePagesMissing", "The node's kernel has no huge pages of that size.", "Create the sandbox with another size, with hugePages none, or on another node.");
    public static readonly Reason HugePagesUnsupported = Add("HugePagesUnsupported", "The VMM gives a guest no huge pages.", "Create the sandbox with vmm qemu, or with hugePages none.");
    public static readonly Reason NoUserLeft = Add("NoUserLeft", "Every user id set aside for VMs is in use.", "Raise Worker__UserCount on the node.");
    public static readonly Reason VmmStartFailed = Add("VmmStartFailed", "The VMM did not come up.", "Run the worker's check on the node, look at its disk space and the worker's log, then start the sandbox again.");
    public static readonly Reason GuestNeverReady = Add("GuestNeverReady", "The guest's agent has not said Ready in time, and its restart policy is to end such a guest.", "Read the serial console: the image's kernel, its root file system or its agent do not come up.");

    public static readonly Reason KvmtoolMissing = Add("KvmtoolMissing", "The node has no kvmtool.", "Install kvmtool (lkvm) on the node, or create the sandbox with vmm qemu.");
    public static readonly Reason KvmtoolTooOld = Add("KvmtoolTooOld", "The node's lkvm has not every option that the worker needs.", "Install a kvmtool of 2022 or newer, built for arm64.");
    public static readonly Reason LauncherProgramMissing = Add("LauncherProgramMissing", "The node has not every program that kvmtool's console needs.", "Install bsdutils, util-linux and coreutils on the node.");
    public static readonly Reason KvmtoolNeedsKvm = Add("KvmtoolNeedsKvm", "kvmtool runs guests in hardware only, and this node cannot.", "Create the sandbox with vmm qemu, or on an arm64 node with KVM.");
    public static readonly Reason InitrdNeeded = Add("InitrdNeeded", "Without an initrd this lkvm would share the host's files with the guest.", "Use an image with an initrd, or a kvmtool with --nodefaults.");
    public static readonly Reason CommandLineTooLong = Add("CommandLineTooLong", "The image's kernel command line is longer than kvmtool takes.", "Shorten it in the image's image.json.");
    public static readonly Reason DiskImageUnsupported = Add("DiskImageUnsupported", "The image is a disk, which kvmtool starts no guest from.", "Create the sandbox with vmm qemu, or with an image that has a kernel.");
    public static readonly Reason KvmtoolEmulatesNothing = Add("KvmtoolEmulatesNothing", "The device is emulated by QEMU; kvmtool has no such device.", "Create the sandbox with vmm qemu, or with a device of class pci.");
    public static readonly Reason BarsUnread = Add("BarsUnread", "The memory regions of the device could not be read.", "Look for the device in the node's inventory; run the worker as root.");
    public static readonly Reason BarSizeUnsupported = Add("BarSizeUnsupported", "A memory region of the device has a size that kvmtool does not map: it takes powers of two.", "Create the sandbox with vmm qemu.");
    public static readonly Reason BarWindowTooSmall = Add("BarWindowTooSmall", "The memory regions of the devices do not fit into the VMM's window.", "Create the sandbox with fewer devices; instead of kvmtool, which has 768 MiB, with vmm qemu; QEMU itself can enlarge its 512 GiB from 10.0 on (highmem-mmio-size).");
    public static readonly Reason StateDirectoryTooDeep = Add("StateDirectoryTooDeep", "lkvm's socket would need a longer path than a socket's address holds.", "Give the worker a state directory (Worker__StateDirectory) whose path is so many bytes shorter.");
    public static readonly Reason SimulationUnreadable = Add("SimulationUnreadable", "The user data is no description of a simulation.", "Leave it out, or write a JSON object as docs/simulated.md says.");
    public static readonly Reason DeviceOfOtherVmm = Add("DeviceOfOtherVmm", "Simulated devices are for vmm simulated, and it takes no others.", "Create the sandbox with the class of a device whose origin fits its vmm.");

    public static IReadOnlyList<Reason> All => Table;

    private static Reason Add(string code, string message, string remedy)
    {
        var reason = new Reason(code, message, remedy);
        Table.Add(reason);
        return reason;
    }
}
