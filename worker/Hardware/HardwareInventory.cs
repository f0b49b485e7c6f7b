using System.Runtime.InteropServices;
using Worker.Hardware.Pci;

namespace Worker.Hardware;

/// <summary>Everything of a host that decides how far Shared Virtual Addressing works on it. <c>KernelLogReadable</c>: whether the SMMU's own words
/// could be looked for. <c>ForeignNames</c>: entries among the PCI functions whose names are no addresses; they are never followed.</summary>
public sealed record HardwareInventory(
    IReadOnlyList<CpuCores> Cpus, IReadOnlyList<NumaNode> Numa, IReadOnlyList<PciFunction> Functions, IReadOnlyList<IommuGroup> Groups,
    IReadOnlyList<SmmuInstance> Smmus, IReadOnlyList<UacceDevice> Uacce, KernelFacts Kernel, bool KernelLogReadable, IReadOnlyList<string> ForeignNames)
{
    /// <summary>Emulated where the host is itself a virtual machine: its functions and its SMMU are then a VMM's.</summary>
    public Contracts.Origin Origin { get; init; } = Contracts.Origin.Hardware;

    public static readonly HardwareInventory None = new([], [], [], [], [], [], new KernelFacts("unknown", null), false, []);

    /// <summary>What iommufd told of the SMMU in front of those functions that could be asked.</summary>
    public IReadOnlyDictionary<PciAddress, SmmuHardware> Asked { get; init; } = new Dictionary<PciAddress, SmmuHardware>();
}

public static class HardwareScan
{
    public static HardwareInventory Read(HostTree tree, string? kernelLog)
    {
        var (functions, foreign) = PciScan.Read(tree);
        return new HardwareInventory(
            CpuScan.Read(tree), NumaScan.Read(tree), functions, IommuGroups.Read(tree), SmmuScan.Read(tree, kernelLog), UacceScan.Read(tree), KernelScan.Read(tree),
            kernelLog is not null, foreign)
        {
            Origin = VirtualHost.Is(tree) ? Contracts.Origin.Emulated : Contracts.Origin.Hardware,
        };
    }

    /// <summary>Adds what only iommufd can tell, of every function on VFIO that nobody holds. Opening such a function resets it.</summary>
    public static HardwareInventory AskIommufd(HostTree tree, HardwareInventory seen)
    {
        var asked = new Dictionary<PciAddress, SmmuHardware>();
        foreach (var function in seen.Functions.Where(f => f.IsOnVfio))
            if (SmmuQuery.Ask(tree, function.Address) is { } told)
                asked[function.Address] = told;
        return seen with { Asked = asked };
    }

    /// <summary>The whole ring buffer of the running kernel; null where reading it is not allowed (kernel.dmesg_restrict).</summary>
    public static unsafe string? KernelLog()
    {
        const int readAll = 3, sizeOfBuffer = 10;
        var size = LibC.KernelLog(sizeOfBuffer, null, 0);
        if (size <= 0)
            return null;
        var buffer = new byte[size];
        fixed (byte* start = buffer)
        {
            var read = LibC.KernelLog(readAll, start, size);
            return read < 0 ? null : Marshal.PtrToStringUTF8((nint)start, read);
        }
    }
}
