using Worker.Hardware.Pci;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuBarWindowTests
{
    private const long Mib = 1 << 20, Gib = 1 << 30;

    private static IReadOnlyList<PciBar> Wide(params long[] sizes) => [.. sizes.Select(bytes => new PciBar(2, bytes, true, true, true))];

    public static TheoryData<long[][], long?> Windows => new()
    {
        { [], null },
        { [[]], null },
        { [[16 * 1024]], null },
        { [[128 * Gib, 64 * Mib]], null },
        { [[256 * Gib], [128 * Gib]], null },
        { [[256 * Gib], [128 * Gib], [64 * Gib], [32 * Gib], [16 * Gib], [8 * Gib], [4 * Gib], [2 * Gib], [1 * Gib]], null },
        // The machine's own devices have no room left.
        { [[512 * Gib]], 1024 * Gib },
        { [[256 * Gib], [256 * Gib]], 1024 * Gib },
        // A second register makes a port's window the double of the first.
        { [[256 * Gib, 64 * Mib]], 1024 * Gib },
        { [[128 * Gib, 64 * Mib], [128 * Gib, 64 * Mib]], 1024 * Gib },
        { [[64 * Mib, 128 * Gib], [128 * Gib], [64 * Gib]], null },
        { [[96 * Gib], [96 * Gib], [96 * Gib], [96 * Gib]], 1024 * Gib },
        { [[512 * Gib], [512 * Gib]], 2048 * Gib },
        { [.. Enumerable.Repeat<long[]>([256 * Gib, 32 * Mib], 8)], 8192 * Gib },
        { [[1L << 45]], 1L << 46 },
    };

    [Theory]
    [MemberData(nameof(Windows))]
    public void Size_OfTheFunctionsOfASandbox(long[][] functions, long? bytes)
    {
        IReadOnlyList<PciBar>[] bars = [.. functions.Select(Wide)];
        Assert.Equal(bytes, QemuBarWindow.Size(bars, true));
        if (bytes is null)
            Assert.Null(QemuBarWindow.Size(bars, false));
        else
            Assert.Equal("BarWindowTooSmall", Assert.Throws<VmStartException>(() => QemuBarWindow.Size(bars, false)).Reason);
    }

    [Theory]
    [InlineData(true, true, false)]
    [InlineData(true, false, true)]
    [InlineData(false, true, true)]
    public void Size_OfRegistersThatLieBelow4Gib_OrAreNoMemory_IsTheDefault(bool memory, bool wide, bool prefetchable) =>
        Assert.Null(QemuBarWindow.Size([[new PciBar(0, 1024 * Gib, memory, wide, prefetchable)]], true));

    [Fact]
    public void Size_OfRegistersThatCouldNotBeRead_IsTheDefault() => Assert.Null(QemuBarWindow.Size([null, Wide(Gib)], true));

    [Theory]
    [InlineData(1L << 46)]
    [InlineData((1L << 46) - 1)]
    [InlineData(long.MaxValue)]
    public void Size_BeyondWhatAddressesReach_IsRefused(long bytes)
    {
        var problem = Assert.Throws<VmStartException>(() => QemuBarWindow.Size([Wide(bytes), Wide(bytes)], true));
        Assert.Equal("BarWindowTooSmall", problem.Reason);
        Assert.EndsWith("65536 GiB for them.", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Refusal_OfAnOlderQemu_SaysWhatIsNeeded()
    {
        var problem = Assert.Throws<VmStartException>(() => QemuBarWindow.Size([Wide(512 * Gib)], false));
        Assert.Equal("The memory regions of the devices do not fit into the VMM's window. They need 513 GiB of addresses, and the node's QEMU has 512 GiB for them.", problem.Message);
        Assert.Contains("10.0", problem.Remedy, StringComparison.Ordinal);
    }
}
