using Contracts;

namespace Worker.Checks;

// Pure: an inventory as lines for a person.
public static class ReadinessTable
{
    public static IEnumerable<string> Lines(NodeInventory inventory)
    {
        foreach (var cpu in inventory.Cpus)
            yield return $"cores       {cpu.Count} {cpu.Name ?? $"of implementer 0x{cpu.Implementer:x2}, part 0x{cpu.Part:x3}"}";
        foreach (var node in inventory.Numa)
            yield return $"memory      node {node.Number}: CPUs {node.Cpus ?? "unknown"}, {(node.MemoryMib is { } mib ? $"{mib} MiB" : "size unknown")}{string.Concat(node.HugePages.Where(h => h.Total > 0).Select(h => $", {h.Free} of {h.Total} pages of {h.SizeKib} KiB free"))}";
        foreach (var smmu in inventory.Smmus)
            yield return $"iommu       {smmu.Name}: {(smmu.Features is { } features ? $"{smmu.OutputBits}-bit, {string.Join(' ', features)}" : smmu.IsSmmuV3 ? "features unknown" : "no SMMUv3")}";
        foreach (var uacce in inventory.Uacce)
            yield return $"uacce       {uacce.Name}: {uacce.Algorithms ?? "algorithms unknown"}, shares addresses: {Word(uacce.SharesAddresses)}";
        foreach (var link in inventory.Functions.Take(1).SelectMany(function => function.Verdict.Links).Where(OfTheNode))
            yield return $"{link.Link.ToString().ToLowerInvariant(),-12}{Line(link)}";
        foreach (var function in inventory.Functions)
        {
            var c = function.Capabilities;
            yield return $"function    {function.Address} {function.VendorId}:{function.DeviceId} driver {function.Driver ?? "none"}, group {(function.IommuGroup is { } group ? $"{group}" : "none")}, "
                + $"ats {Word(c.Ats)}, pasid {Word(c.Pasid)}, pri {Word(c.Pri)}, flr {Word(c.Flr)}";
            yield return $"            {function.Verdict.Class}: {function.Verdict.Message}";
            foreach (var link in function.Verdict.Links.Where(link => link.Status != LinkStatus.Pass && link.Link != VerdictLinkName.Guest && !OfTheNode(link)))
                yield return $"              {link.Link,-11}{Line(link)}";
        }
    }

    /// <summary>The same for every function of the node: told once.</summary>
    private static bool OfTheNode(VerdictLink link) => link.Link is VerdictLinkName.Kernel or VerdictLinkName.Vmm;

    private static string Line(VerdictLink link) => $"{link.Status,-8} {link.Reason}: {link.Message} {link.Remedy}".TrimEnd();

    private static string Word(bool? known) => known switch { true => "yes", false => "no", null => "unknown" };
}
