using System.Numerics;
using Worker.Hardware.Pci;

namespace Worker.Vms.Qemu;

// Pure: how large the virt machine's window for 64-bit registers must be (hw/arm/virt.c, highmem-mmio-size: a power of two, no less than the default).
// Firmware and kernel size the window of a root port by the device that is behind it at the start, so ports need no reserve; each starts and ends at a
// multiple of its device's largest register. Behind a port only prefetchable registers can lie above 4 GiB.
public static class QemuBarWindow
{
    public const long Default = 512L << 30;
    /// <summary>Of 48 bits of addresses: the window begins at a multiple of its size, above memory.</summary>
    public const long Most = 1L << 46;
    /// <summary>The least of a port's window.</summary>
    private const long Granule = 1 << 20;
    /// <summary>For the machine's own devices and what an operating system keeps free.</summary>
    private const long Beside = 1L << 30;

    /// <summary>Null when the default is enough; a <see cref="VmStartException"/> when it is not and cannot be enlarged. Registers that could not be read count nothing.</summary>
    public static long? Size(IReadOnlyList<IReadOnlyList<PciBar>?> functions, bool canEnlarge)
    {
        var needed = functions.Aggregate((Int128)Beside, (sum, bars) => sum + WindowOf(bars ?? []));
        if (needed <= Default)
            return null;
        var most = canEnlarge ? Most : Default;
        if (needed > most)
            throw new VmStartException(StartReasons.BarWindowTooSmall, $"They need {needed >> 30} GiB of addresses, and the node's QEMU has {most >> 30} GiB for them.");
        return (long)BitOperations.RoundUpToPowerOf2((ulong)needed);
    }

    private static Int128 WindowOf(IReadOnlyList<PciBar> bars)
    {
        var sizes = bars.Where(bar => bar is { IsMemory: true, Is64Bit: true, IsPrefetchable: true })
            .Select(bar => (Int128)BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bar.Bytes, Granule))).ToList();
        if (sizes.Count == 0)
            return 0;
        var largest = sizes.Max();
        var sum = sizes.Aggregate((total, size) => total + size);
        return (sum + largest - 1) / largest * largest;
    }
}
