using System.Globalization;
using Worker.Hardware.Pci;

namespace Worker.Hardware;

/// <summary>Addresses of a group that are not free to map. <c>Kind</c>: direct, direct-relaxable, msi or reserved.</summary>
public readonly record struct ReservedRegion(ulong Start, ulong End, string Kind);

/// <summary>The smallest set of functions that the IOMMU can tell apart from all others (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
/// <c>Type</c>: DMA, DMA-FQ, identity or blocked. Type and regions are null when they could not be read.</summary>
public sealed record IommuGroup(int Number, string? Type, IReadOnlyList<PciAddress> Functions, IReadOnlyList<ReservedRegion>? Regions)
{
    /// <summary>The firmware demands a fixed mapping: the kernel refuses to give such a function to user space.</summary>
    public bool? HasDirectRegion => Regions?.Any(region => region.Kind == "direct");
}

public static class IommuGroups
{
    private const string Directory = "sys/kernel/iommu_groups";

    public static IReadOnlyList<IommuGroup> Read(HostTree tree)
    {
        var groups = new List<IommuGroup>();
        foreach (var name in tree.Names(Directory))
        {
            if (!int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                continue;
            var functions = new List<PciAddress>();
            foreach (var device in tree.Names($"{Directory}/{name}/devices"))
                if (PciAddress.TryParse(device, out var address))
                    functions.Add(address);
            groups.Add(new IommuGroup(number, tree.Text($"{Directory}/{name}/type"), functions, Regions(tree.Text($"{Directory}/{name}/reserved_regions", 65_536))));
        }
        return [.. groups.OrderBy(group => group.Number)];
    }

    internal static IReadOnlyList<ReservedRegion>? Regions(string? text) =>
        text is null ? null : [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(Region).OfType<ReservedRegion>()];

    private static ReservedRegion? Region(string line) =>
        line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var start, var end, var kind] && Hex(start, out var first) && Hex(end, out var last)
            ? new ReservedRegion(first, last, kind)
            : null;

    private static bool Hex(string text, out ulong value)
    {
        value = 0;
        return text.StartsWith("0x", StringComparison.Ordinal) && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
