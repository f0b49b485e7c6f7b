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

    /// <summary>Pure: near the devices (<paramref name="deviceNode"/>), on the largest huge pages of which enough are free there: all of it is pinned for DMA,
    /// and large pages make fewer entries for the SMMU to walk.</summary>
    public static GuestMemory Near(int mib, int? deviceNode, IReadOnlyList<NumaNode> host)
    {
        var node = host.Count == 1 ? host[0] : host.FirstOrDefault(n => n.Number == deviceNode);
        if (node is null)
            return Plain(mib);
        var kib = (long)mib << 10;
        var huge = node.HugePages.Where(p => kib % p.SizeKib == 0 && p.Free >= kib / p.SizeKib).OrderByDescending(p => p.SizeKib).FirstOrDefault();
        return new GuestMemory(mib, huge?.SizeKib, host.Count > 1 ? node.Number : null, host.Count > 1 && node.Cpus is { } cpus && IsList(cpus) ? cpus : null);
    }

    private static bool IsList(string cpus) => cpus.Length is > 0 and <= 4096 && cpus.All(c => char.IsAsciiDigit(c) || c is ',' or '-');
}
