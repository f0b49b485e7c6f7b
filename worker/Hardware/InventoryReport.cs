using System.Globalization;
using Contracts;
using Worker.Checks;
using Worker.Hardware.Pci;
using Worker.Hardware.Verdicts;

namespace Worker.Hardware;

// Pure: the inventory as the API is told it, each function with its verdict.
public static class InventoryReport
{
    public static NodeInventory Of(HardwareInventory seen, QemuFacts vmm, DateTimeOffset readAt) => new(
        readAt,
        [.. seen.Cpus.Select(c => new CpuKind(c.Name, c.Implementer, c.Part, c.Count))],
        [.. seen.Numa.Select(n => new NumaFacts(n.Number, n.Cpus, n.MemoryMib, [.. n.HugePages.Select(h => new HugePageFacts(h.SizeKib, h.Total, h.Free))]))],
        [.. seen.Smmus.Select(s => new SmmuFacts(s.Name, s.IsSmmuV3, s.Clients, s.Features is { } features ? FeatureNames(features) : null, s.OutputBits))],
        [.. seen.Uacce.Select(u => new UacceFacts(u.Name, u.Algorithms, u.SharesAddresses, u.AvailableInstances, u.ParentFunction))],
        [.. seen.Functions.Where(f => !f.IsBridge).Select(f => Describe(f, SvaChain.Judge(f, seen, vmm)))]);

    private static FunctionFacts Describe(PciFunction f, Verdict verdict) => new(
        f.Address.ToString(), Hex(f.Vendor, 4), Hex(f.Device, 4), Hex((int)f.ClassCode, 6), f.Driver, f.IommuGroup, f.Iommu, f.NumaNode, f.PhysicalFunction?.ToString(), f.ResetMethods,
        new FunctionCapabilities(
            Known(f.Capabilities.Ats), Known(f.Capabilities.Pri), Known(f.Capabilities.Pasid), f.Capabilities.PasidDetail?.WidthBits,
            Known(f.Capabilities.Acs), Known(f.Capabilities.Sriov), Known(f.Capabilities.Aer), Known(f.Capabilities.Flr)),
        verdict);

    private static bool? Known(Presence presence) => presence switch { Presence.Present => true, Presence.Absent => false, _ => null };

    private static string Hex(int value, int digits) => value.ToString("x" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static List<string> FeatureNames(SmmuFeatures features) =>
        [.. Enum.GetValues<SmmuFeatures>().Where(f => f != SmmuFeatures.None && features.HasFlag(f)).Select(f => f.ToString())];
}
