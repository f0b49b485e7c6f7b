namespace Worker.Hardware;

/// <summary>An accelerator of the uacce framework (Documentation/ABI/testing/sysfs-driver-uacce). <c>SharesAddresses</c>: flag bit 0, its queues take
/// a process's own addresses on this host, by stall. <c>ParentFunction</c>: the PCI function behind it, as sysfs names it.</summary>
public sealed record UacceDevice(string Name, string? Api, string? Algorithms, bool? SharesAddresses, long? AvailableInstances, string? ParentFunction);

public static class UacceScan
{
    private const string Directory = "sys/class/uacce";

    public static IReadOnlyList<UacceDevice> Read(HostTree tree) =>
    [
        .. tree.Names(Directory).Select(name => new UacceDevice(
            name, tree.Text($"{Directory}/{name}/api"), tree.Text($"{Directory}/{name}/algorithms")?.Replace('\n', ' ').Trim(),
            tree.Number($"{Directory}/{name}/flags") is { } flags ? (flags & 1) != 0 : null,
            tree.Number($"{Directory}/{name}/available_instances"), tree.LinkName($"{Directory}/{name}/device"))),
    ];
}
