namespace Worker.Checks;

// What is wrong with a node or with an image of it. One table; docs/neoverse-node.md is written from it. Lines of logs stand in KnownFailures.
public static class NodeReasons
{
    private const string BuildImage = "Build the image on the node: ./sandbox image";
    private static readonly List<Reason> Table = [];

    public static readonly Reason QemuMissing = Add("QemuMissing", "qemu-system-aarch64 was not found or does not run.", "Install it: apt-get install qemu-system-arm");
    public static readonly Reason CpuModelMissing = Add("CpuModelMissing", "The node's QEMU has no neoverse-n1.", "Install QEMU 7.2 or newer.");
    public static readonly Reason DeviceModelMissing = Add("DeviceModelMissing", "The node's QEMU has not every device that guests are given.", "Install it: apt-get install qemu-system-arm");
    public static readonly Reason NoUserPerVm = Add("NoUserPerVm", "The worker is not root: all VMs run as the worker's own user.", "Run the worker as root; VMs then get a user each.");
    public static readonly Reason NoCgroupPerVm = Add("NoCgroupPerVm", "VMs get no cgroup.", "Run the worker as root or delegate a cgroup to it.");
    public static readonly Reason NoSeccomp = Add("NoSeccomp", "The kernel cannot filter system calls: QEMU runs without its filter.", "Use a kernel with SECCOMP and SECCOMP_FILTER.");
    public static readonly Reason DirectoryNotTraversable = Add("DirectoryNotTraversable", "Users of VMs cannot pass through a directory that they need.", "Put the state or images directory where everybody may pass, for example below /var/lib.");
    public static readonly Reason ImagesDirectoryMissing = Add("ImagesDirectoryMissing", "The images directory does not exist.", BuildImage);
    public static readonly Reason NoImage = Add("NoImage", "The node has no guest image.", BuildImage);
    public static readonly Reason ImageMissing = Add("ImageMissing", "There is no such image on the node.", BuildImage);
    public static readonly Reason ImageCorrupt = Add("ImageCorrupt", "The image is not what its image.json says, or that cannot be read.", BuildImage);
    public static readonly Reason StateDirectoryUnwritable = Add("StateDirectoryUnwritable", "The worker cannot write to its state directory.", "Run the worker as a user who can, or name another directory in Worker__StateDirectory.");
    public static readonly Reason ImageBeingVerified = Add("ImageBeingVerified", "A large file of the image is being read for its digest; the image is offered after that.", "Nothing; it takes about a second for each half GiB.");
    public static readonly Reason ImageUnreadable = Add("ImageUnreadable", "The users of VMs may not read a file of the image.", BuildImage);
    public static readonly Reason HugePagesUnreadable = Add("HugePagesUnreadable", "The kernel's count of huge pages of a size could not be read: none of that size is given to guests.", "Look at nr_hugepages and free_hugepages below /sys/devices/system/node.");
    public static readonly Reason ImageFetchFailed = Add("ImageFetchFailed", "A file of a registered image could not be fetched from the API; it is tried again.", "Look at the detail; if it stays, look at the API's log and at the space below the worker's state directory.");
    public static readonly Reason ImageCacheFull = Add("ImageCacheFull", "A registered image does not fit beside those that sandboxes of the node use.", "Raise Worker__ImageCacheMaxBytes on the node, end sandboxes there, or ask for another node.");
    public static readonly Reason ConsoleUnavailable = Add("ConsoleUnavailable", "A sandbox's console could not be opened: the sandbox goes on without.", "Look at space, owner and mode of the worker's state directory, then restart the worker.");

    public static IReadOnlyList<Reason> All => Table;

    private static Reason Add(string code, string message, string remedy)
    {
        var reason = new Reason(code, message, remedy);
        Table.Add(reason);
        return reason;
    }
}
