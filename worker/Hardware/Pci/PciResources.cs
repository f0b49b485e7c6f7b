using System.Globalization;

namespace Worker.Hardware.Pci;

/// <summary>One base address register that a function has.</summary>
public sealed record PciBar(int Index, long Bytes, bool IsMemory, bool Is64Bit = false, bool IsPrefetchable = false);

// Pure but for Read: sysfs "resource" (Documentation/ABI/testing/sysfs-bus-pci, Linux drivers/pci/pci-sysfs.c resource_show): a line for each resource, "start end flags".
// The first six are the function's own registers; what follows (expansion ROM, those of virtual functions, windows of bridges) is nobody's memory in a guest.
public static class PciResources
{
    public const int Registers = 6;
    private const ulong Memory = 0x200, Io = 0x100, Prefetchable = 0x2000, Wide = 0x100000;

    public static IReadOnlyList<PciBar>? Read(HostTree tree, PciAddress address) => tree.Text($"{PciScan.Directory}/{address}/resource") is { } text ? Parse(text) : null;

    /// <summary>Null when the text is not what the kernel writes: the sizes are then not known.</summary>
    public static IReadOnlyList<PciBar>? Parse(string text)
    {
        var lines = text.Split('\n');
        if (lines.Length < Registers)
            return null;
        var bars = new List<PciBar>();
        for (var index = 0; index < Registers; index++)
        {
            var fields = lines[index].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length != 3 || Number(fields[0]) is not { } start || Number(fields[1]) is not { } end || Number(fields[2]) is not { } flags)
                return null;
            if (flags == 0 && start == 0 && end == 0)
                continue;
            if (end < start || end - start >= long.MaxValue || (flags & (Memory | Io)) == 0)
                return null;
            bars.Add(new PciBar(index, (long)(end - start) + 1, (flags & Memory) != 0, (flags & Wide) != 0, (flags & Prefetchable) != 0));
        }
        return bars;
    }

    private static ulong? Number(string text) =>
        text.StartsWith("0x", StringComparison.Ordinal) && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var number) ? number : null;
}
