using Contracts;
using Worker.Hardware;
using Worker.Hardware.Pci;

namespace Worker.Vms;

/// <summary>Where a guest's memory and vCPUs lie. <c>HugePageKib</c>: null for ordinary pages. <c>NumaNode</c>: null where the host has but one, or no device asks for one.
/// <c>Cpus</c>: the node's, as the kernel writes lists.</summary>
public sealed record GuestMemory(int Mib, int? HugePageKib, int? NumaNode, string? Cpus)
{
    private const int PinnedBesideMib = 1024;

    /// <summary>How much a VMM pins for the functions that it is given; null where it is given none. Each device's address space pins the guest's memory
    /// anew under type 1; the rest is for queues and regions of the devices.</summary>
    public static long? PinnedKib(SandboxSpec spec) => spec.Devices.Count(d => PciAddress.TryParse(d, out _)) is > 0 and var count ? ((long)spec.MemoryMib * count + PinnedBesideMib) << 10 : null;

    public static GuestMemory Plain(int mib) => new(mib, null, null, null);

    /// <summary>Pure: near the devices (<paramref name="deviceNode"/>), on huge pages where those were asked for. Nobody is given any unasked: they are what the API promises to those who ask.
    /// Throws <see cref="VmStartException"/> where the host has not enough of them.</summary>
    public static GuestMemory Of(int mib, HugePageSize pages, int? deviceNode, IReadOnlyList<NumaNode> host, IReadOnlyList<HugePagePool> pools)
    {
        var near = host.Count > 1 ? host.FirstOrDefault(n => n.Number == deviceNode) : null;
        var memory = new GuestMemory(mib, null, near?.Number, near?.Cpus is { } cpus && IsList(cpus) ? cpus : null);
        if (pages == HugePageSize.None)
            return memory;
        var (needed, ofSize) = (pages.PagesOf(mib), pools.Where(p => p.SizeKib == pages.Kib()).ToList());
        if (ofSize.Count == 0)
            throw new VmStartException(StartReasons.HugePagesMissing, $"They are those of {pages.Words()}.");
        // What could not be read is left to the kernel: QEMU says it if there are too few.
        if (ofSize.All(p => p.Free is not null) && ofSize.Sum(p => p.Free!.Value) is var free && free < needed)
            throw new VmStartException(StartReasons.NoHugePagesLeft, $"Of {pages.Words()}: {needed} needed, {free} free.");
        return memory with { HugePageKib = pages.Kib() };
    }

    private static bool IsList(string cpus) => cpus.Length is > 0 and <= 4096 && cpus.All(c => char.IsAsciiDigit(c) || c is ',' or '-');
}
