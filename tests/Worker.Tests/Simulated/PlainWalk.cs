using Worker.Vms.Simulated.Memory;

namespace Worker.Tests.Simulated;

/// <summary>A second reading of translation tables, without anything of the simulated machine's own: for the tests to compare with.</summary>
internal static class PlainWalk
{
    /// <summary>Where an address leads and whether it may be written to; null where nothing may read it.</summary>
    public static (ulong Physical, bool Writable)? Both(PhysicalMemory memory, ulong root1, int shift1, ulong root2, int shift2, ulong address)
    {
        if (One(root1, shift1, address, table => One(root2, shift2, table, physical => physical, memory) is { } found ? found.Address : null, memory) is not { } first || (first.Entry & 0x40) == 0)
            return null;
        return One(root2, shift2, first.Address, physical => physical, memory) is { } second && (second.Entry & 0x40) != 0
            ? (second.Address, (first.Entry & 0x80) == 0 && (second.Entry & 0x80) != 0)
            : null;
    }

    private static (ulong Address, ulong Entry)? One(ulong root, int shift, ulong address, Func<ulong, ulong?> resolve, PhysicalMemory memory)
    {
        var (table, bits) = (root, shift - 3);
        for (var low = shift == 12 ? 39 : 42; ; low -= bits)
        {
            var index = (address >> low) & ((1UL << Math.Min(bits, 48 - low)) - 1);
            if (resolve(table + (index * 8)) is not { } at || !memory.TryRead(at, out var entry) || (entry & 1) == 0)
                return null;
            var next = entry & 0x0000_FFFF_FFFF_F000 & ~((1UL << shift) - 1);
            if (low == shift)
                return (entry & 3) == 3 && (entry & 0x400) != 0 ? (next | (address & ((1UL << shift) - 1)), entry) : null;
            if ((entry & 2) == 0)
                return (entry & 0x400) != 0 ? ((entry & 0x0000_FFFF_FFFF_F000 & ~((1UL << low) - 1)) | (address & ((1UL << low) - 1)), entry) : null;
            table = next;
        }
    }
}
