using System.Globalization;

namespace Worker.Hardware;

/// <summary>Pages of one size: <c>SizeKib</c> is that of a page.</summary>
public sealed record HugePages(int SizeKib, long Total, long Free);

/// <summary>One NUMA node. <c>Cpus</c> as the kernel writes lists, 0-15,32-47; null, like the memory, when it could not be read.</summary>
public sealed record NumaNode(int Number, string? Cpus, long? MemoryMib, IReadOnlyList<HugePages> HugePages);

public static class NumaScan
{
    private const string Directory = "sys/devices/system/node";

    public static IReadOnlyList<NumaNode> Read(HostTree tree)
    {
        var nodes = new List<NumaNode>();
        foreach (var name in tree.Names(Directory))
            if (name.StartsWith("node", StringComparison.Ordinal) && Digits(name.AsSpan(4), out var number))
                nodes.Add(new NumaNode(number, tree.Text($"{Directory}/{name}/cpulist"), MemoryMib(tree.Text($"{Directory}/{name}/meminfo")), [.. HugePageScan.Pools(tree, $"{Directory}/{name}/hugepages", number).Where(p => p.Total is not null).Select(p => new HugePages(p.SizeKib, p.Total!.Value, p.Free!.Value)).OrderBy(p => p.SizeKib)]));
        return [.. nodes.OrderBy(node => node.Number)];
    }

    /// <summary>"Node 0 MemTotal:  16384 kB".</summary>
    internal static long? MemoryMib(string? meminfo)
    {
        var line = meminfo?.Split('\n').FirstOrDefault(line => line.Contains("MemTotal:", StringComparison.Ordinal));
        var words = line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words is [var kib, ..] && long.TryParse(kib, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value / 1024 : null;
    }

    private static bool Digits(ReadOnlySpan<char> text, out int value) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
}
