using System.Globalization;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary>Functions that the host itself works with: the disk that is mounted, swapped to or built on, and the network interface that is up.</summary>
public sealed record HostUses(IReadOnlyDictionary<PciAddress, string> Storage, IReadOnlyDictionary<PciAddress, string> Network)
{
    public static readonly HostUses None = new(new Dictionary<PciAddress, string>(), new Dictionary<PciAddress, string>());
}

// Reads what the host's kernel has made of its functions. A disk counts as used when it, a partition of it, or whatever is built on either
// (device mapper, RAID) is mounted or swapped to, or when anything is built on it at all. Links are read as text and never followed.
public static class HostUseScan
{
    private const string Blocks = "sys/class/block", Interfaces = "sys/class/net";
    private const int Up = 1, MaxTextBytes = 1 << 20;

    public static HostUses Read(HostTree tree)
    {
        var blocks = tree.Names(Blocks);
        var used = Mounted(tree);
        var storage = new Dictionary<PciAddress, string>();
        foreach (var block in blocks)
            if (used.Contains(tree.Text($"{Blocks}/{block}/dev") ?? "") || used.Contains(block) || tree.Names($"{Blocks}/{block}/holders").Count > 0)
                foreach (var function in FunctionsOf(tree, block, 0))
                    storage.TryAdd(function, block);
        var network = new Dictionary<PciAddress, string>();
        foreach (var name in tree.Names(Interfaces))
            if (((tree.Number($"{Interfaces}/{name}/flags") ?? 0) & Up) != 0 && LastFunction(tree.LinkText($"{Interfaces}/{name}")) is { } function)
                network.TryAdd(function, name);
        return new HostUses(storage, network);
    }

    /// <summary>Numbers (259:0) of mounted disks and names of those that are swapped to.</summary>
    private static HashSet<string> Mounted(HostTree tree)
    {
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (var line in (tree.Text("proc/self/mountinfo", MaxTextBytes) ?? "").Split('\n'))
            if (line.Split(' ') is [_, _, var number, ..])
                used.Add(number);
        foreach (var line in (tree.Text("proc/mounts", MaxTextBytes) ?? "").Split('\n').Concat((tree.Text("proc/swaps", MaxTextBytes) ?? "").Split('\n')))
            if (line.StartsWith("/dev/", StringComparison.Ordinal))
                used.Add(Path.GetFileName(line.Split(' ', '\t')[0]));
        return used;
    }

    private static IEnumerable<PciAddress> FunctionsOf(HostTree tree, string block, int depth)
    {
        const int deepest = 8;
        if (depth > deepest)
            yield break;
        var path = tree.LinkText($"{Blocks}/{block}");
        if (LastFunction(path) is { } own)
            yield return own;
        // A disk with several paths is its subsystem's: /sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1.
        else if (path?.Split('/').FirstOrDefault(part => part.StartsWith("nvme-subsys", StringComparison.Ordinal) && part.Length > 11 && char.IsAsciiDigit(part[11])) is { } subsystem)
            foreach (var controller in tree.Names($"sys/class/nvme-subsystem/{subsystem}").Where(name => name.StartsWith("nvme", StringComparison.Ordinal)))
                if (LastFunction(tree.LinkText($"sys/class/nvme/{controller}")) is { } function)
                    yield return function;
        foreach (var below in tree.Names($"{Blocks}/{block}/slaves"))
            foreach (var function in FunctionsOf(tree, below, depth + 1))
                yield return function;
    }

    /// <summary>The last PCI address in a link's target: bridges come before what is behind them.</summary>
    private static PciAddress? LastFunction(string? link)
    {
        foreach (var part in (link ?? "").Split('/').Reverse())
            if (PciAddress.TryParse(part, out var address))
                return address;
        return null;
    }
}
