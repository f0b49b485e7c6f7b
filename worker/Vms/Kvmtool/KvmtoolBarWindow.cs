using System.Globalization;
using System.Numerics;
using Worker.Hardware.Pci;

namespace Worker.Vms.Kvmtool;

// Pure: whether the memory of all assigned functions fits into kvmtool's one window for it (arm: KVM_PCI_MMIO_AREA, 0x50000000 to 0x7fffffff).
// kvmtool hands blocks out in order, each aligned to its own size, the register with the MSI-X table before the function's others (vfio/pci.c,
// pci.c pci_get_mmio_block), and does not look where the window ends: what does not fit lies over the guest's RAM. Which register holds
// the table is not asked here: it must fit whichever it is.
public static class KvmtoolBarWindow
{
    public const long Start = 0x50000000, End = 0x80000000;
    /// <summary>The largest page that a guest may have: kvmtool rounds up to it.</summary>
    private const long LargestPage = 64 * 1024;

    /// <summary>Null when everything fits.</summary>
    public static VmStartException? Problem(IReadOnlyList<(string Address, IReadOnlyList<PciBar> Bars)> functions)
    {
        var cursor = Start;
        foreach (var (address, bars) in functions)
        {
            var sizes = bars.Where(bar => bar.IsMemory).Select(bar => bar.Bytes).ToList();
            if (sizes.FirstOrDefault(size => !BitOperations.IsPow2(size)) is not 0 and var odd)
                return new VmStartException(StartReasons.BarSizeUnsupported, $"It is {address}, with {odd} bytes.");
            cursor = EndOf(sizes, cursor);
            if (cursor > End)
                return new VmStartException(
                    StartReasons.BarWindowTooSmall, $"It is {string.Join(", ", functions.Select(function => function.Address))}, with {Mib(functions)} MiB.");
        }
        return null;
    }

    /// <summary>The furthest that the blocks of one function can reach; a later start never ends earlier.</summary>
    private static long EndOf(List<long> sizes, long cursor) => sizes.Count == 0
        ? cursor
        : sizes.Index().Max(first => sizes.Index().Where(other => other.Index != first.Index).Select(other => other.Item)
            .Aggregate(Place(cursor, first.Item), Place));

    private static long Place(long cursor, long size)
    {
        // Beyond the window's end nothing needs to be told apart, and nothing may overflow.
        var block = Math.Min(Math.Max(size, LargestPage), End);
        return Math.Min((cursor + block - 1) / block * block + block, 2 * End);
    }

    private static string Mib(IReadOnlyList<(string Address, IReadOnlyList<PciBar> Bars)> functions) =>
        (functions.SelectMany(function => function.Bars).Where(bar => bar.IsMemory).Sum(bar => (decimal)bar.Bytes) / (1 << 20)).ToString("0.##", CultureInfo.InvariantCulture);
}
