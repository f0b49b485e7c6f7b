namespace Worker.Hardware.Pci;

/// <summary>One PCI function as sysfs shows it (Documentation/ABI/testing/sysfs-bus-pci). Null where something could not be read.
/// <c>ClassCode</c>: base class, subclass and interface, 24 bits. <c>NumaNode</c>, <c>Driver</c> and <c>IommuGroup</c> are null also where there is none.
/// <c>Iommu</c>: the instance in front of it, such as smmu3.0x0000000009050000. <c>PhysicalFunction</c> of a virtual function: where PASID and PRI live.
/// <c>ResetMethods</c>: best first; empty when the kernel knows none, null when it does not say (before 5.15).</summary>
public sealed record PciFunction(
    PciAddress Address, ushort Vendor, ushort Device, uint ClassCode, byte? Revision, int? NumaNode, string? Driver,
    int? IommuGroup, string? Iommu, PciAddress? PhysicalFunction, IReadOnlyList<PciAddress> VirtualFunctions, IReadOnlyList<string>? ResetMethods,
    PciCapabilities Capabilities)
{
    public bool IsVirtual => PhysicalFunction is not null;

    /// <summary>On vfio-pci or one of its variants (nvgrace-gpu-vfio-pci, hisi_acc_vfio_pci, mlx5_vfio_pci): VFIO has made a device of it.</summary>
    public bool IsOnVfio { get; init; }

    /// <summary>Bridges and root ports stay with the host and do not count among the tenants of an IOMMU group.</summary>
    public bool IsBridge => ClassCode >> 16 == 0x06;
}

// Reads every PCI function, but not its driver_override: the kernel answers that under the device's lock, which it holds for as long as an unbinding hangs. A function that vanishes meanwhile is left out; a name that is no address is reported, not followed.
public static class PciScan
{
    public const string Directory = "sys/bus/pci/devices";
    private const int MaxNameLength = 64;

    public static (IReadOnlyList<PciFunction> Functions, IReadOnlyList<string> Foreign) Read(HostTree tree)
    {
        var functions = new List<PciFunction>();
        var foreign = new List<string>();
        foreach (var name in tree.Names(Directory))
        {
            if (!PciAddress.TryParse(name, out var address))
                foreign.Add(name);
            else if (ReadOne(tree, address) is { } function)
                functions.Add(function);
        }
        return (functions, foreign);
    }

    public static PciFunction? ReadOne(HostTree tree, PciAddress address)
    {
        var path = $"{Directory}/{address}";
        if (tree.Number($"{path}/vendor") is not { } vendor || tree.Number($"{path}/device") is not { } device || tree.Number($"{path}/class") is not { } classCode)
            return null;
        var config = tree.Bytes($"{path}/config", PciConfigSpace.Bytes);
        return new PciFunction(
            address, (ushort)vendor, (ushort)device, (uint)classCode & 0xFFFFFF, (byte?)tree.Number($"{path}/revision"),
            tree.Number($"{path}/numa_node") is >= 0 and <= 1 << 16 and var node ? (int)node : null,
            Name(tree.LinkName($"{path}/driver")),
            int.TryParse(tree.LinkName($"{path}/iommu_group"), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var group) ? group : null,
            Name(tree.LinkName($"{path}/iommu")),
            PciAddress.TryParse(tree.LinkName($"{path}/physfn"), out var physical) && physical != address ? physical : null,
            VirtualFunctions(tree, path), tree.Text($"{path}/reset_method")?.Split(' ', StringSplitOptions.RemoveEmptyEntries),
            config is null ? PciCapabilities.Unreadable : PciConfigSpace.Parse(config))
        {
            IsOnVfio = tree.LinkName($"{path}/driver") == "vfio-pci" || tree.Names($"{path}/vfio-dev").Count > 0,
        };
    }

    private static List<PciAddress> VirtualFunctions(HostTree tree, string path)
    {
        var found = new List<PciAddress>();
        foreach (var name in tree.Names(path).Where(name => name.StartsWith("virtfn", StringComparison.Ordinal)))
            if (PciAddress.TryParse(tree.LinkName($"{path}/{name}"), out var address))
                found.Add(address);
        return found;
    }

    /// <summary>Drivers and IOMMUs have plain names; anything else is somebody's trick and is not shown.</summary>
    private static string? Name(string? link) =>
        link is { Length: > 0 and <= MaxNameLength } && link.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') && link is not ("." or "..") ? link : null;
}
