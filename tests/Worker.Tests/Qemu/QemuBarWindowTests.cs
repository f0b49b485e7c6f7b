using Worker.Hardware.Pci;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuBarWindowTests
{
    private const long Mib = 1 << 20, Gib = 1 << 30;

    private static PciBar Wide(long bytes) => new(2, bytes, true, true, true);

    private static IReadOnlyList<PciBar> Wide(params long[] sizes) => [.. sizes.Select(Wide)];

    public static TheoryData<IReadOnlyList<PciBar>[], long?> Windows => new()
    {
        { [], null },
        { [[]], null },
        { [Wide(16 * 1024)], null },
        { [Wide(128 * Gib, 64 * Mib)], null },
        { [Wide(256 * Gib), Wide(128 * Gib)], null },
        { [Wide(256 * Gib), Wide(128 * Gib), Wide(64 * Gib), Wide(32 * Gib), Wide(16 * Gib), Wide(8 * Gib), Wide(4 * Gib), Wide(2 * Gib), Wide(1 * Gib)], null },
        // The machine's own devices have no room left.
        { [Wide(512 * Gib)], 1024 * Gib },
        { [Wide(256 * Gib), Wide(256 * Gib)], 1024 * Gib },
        // A second register makes a port's window the double of the first.
        { [Wide(256 * Gib, 64 * Mib)], 1024 * Gib },
        { [Wide(128 * Gib, 64 * Mib), Wide(128 * Gib, 64 * Mib)], 1024 * Gib },
        { [Wide(64 * Mib, 128 * Gib), Wide(128 * Gib), Wide(64 * Gib)], null },
        { [Wide(96 * Gib), Wide(96 * Gib), Wide(96 * Gib), Wide(96 * Gib)], 1024 * Gib },
        { [Wide(512 * Gib), Wide(512 * Gib)], 2048 * Gib },
        { [.. Enumerable.Repeat(Wide(256 * Gib, 32 * Mib), 8)], 8192 * Gib },
        { [Wide(1L << 45)], 1L << 46 },
        // Below 4 GiB, or nobody's memory.
        { [[new PciBar(0, 1024 * Gib, true, true, false)], [new PciBar(0, 1024 * Gib, true, false, true)], [new PciBar(0, 1024 * Gib, false, true, true)]], null },
    };

    [Theory]
    [MemberData(nameof(Windows))]
    public void Size_OfTheFunctionsOfASandbox(IReadOnlyList<PciBar>[] functions, long? bytes)
    {
        Assert.Equal(bytes, QemuBarWindow.Size(functions, true));
        if (bytes is null)
            Assert.Null(QemuBarWindow.Size(functions, false));
        else
            Assert.Equal("BarWindowTooSmall", Assert.Throws<VmStartException>(() => QemuBarWindow.Size(functions, false)).Reason);
    }

    [Fact]
    public void Size_OfRegistersThatCouldNotBeRead_IsTheDefault() => Assert.Null(QemuBarWindow.Size([null, Wide(Gib)], true));

    [Theory]
    [InlineData(1L << 46)]
    [InlineData((1L << 46) - 1)]
    [InlineData(long.MaxValue)]
    public void Size_BeyondWhatAddressesReach_IsRefused(long bytes)
    {
        var problem = Assert.Throws<VmStartException>(() => QemuBarWindow.Size([Wide(bytes), Wide(bytes)], true));
        Assert.Equal(("BarWindowTooSmall", "Create the sandbox with fewer devices."), (problem.Reason, problem.Remedy));
    }

    [Fact]
    public void Refusal_OfAnOlderQemu_SaysWhatIsNeeded()
    {
        var problem = Assert.Throws<VmStartException>(() => QemuBarWindow.Size([Wide(512 * Gib)], false));
        Assert.Equal("The memory regions of the devices need 513 GiB of addresses; the node's QEMU has 512 GiB for them.", problem.Message);
        Assert.Contains("10.0", problem.Remedy, StringComparison.Ordinal);
    }
}
