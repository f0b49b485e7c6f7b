using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary>A function that a rule offers. <c>Parked</c>: the other endpoints of its IOMMU group, which nobody has while a sandbox has the function.
/// <c>Refusal</c>: why it cannot be given to a guest now; null when it can.</summary>
public sealed record OfferedFunction(PciFunction Function, PassthroughOptions Rule, IReadOnlyList<PciAddress> Parked, DeviceProblem? Refusal)
{
    public string Address => Function.Address.ToString();
}

// Pure: which functions a node offers, and why one of them cannot be given away. An IOMMU group is the unit of isolation and so of tenancy:
// one function of it is offered, every other endpoint is parked with it.
public static class AssignmentRules
{
    private const uint StorageClass = 0x01, NvmeSubclass = 0x0108;

    // uses: What the host itself does with its functions.
    public static IReadOnlyList<OfferedFunction> Offer(IReadOnlyList<PassthroughOptions> rules, HardwareInventory host, HostUses uses)
    {
        var offered = new List<OfferedFunction>();
        var groups = new HashSet<int>();
        foreach (var function in host.Functions)
        {
            if (rules.FirstOrDefault(rule => rule.Matches(function)) is not { } rule)
                continue;
            var members = Members(function, host);
            var refusal = Refusal(function, members, host, uses);
            if (refusal is null && !groups.Add(function.IommuGroup!.Value))
                refusal = AssignmentReasons.SharesGroup.With();
            offered.Add(new OfferedFunction(function, rule, [.. members.Where(m => m.Address != function.Address).Select(m => m.Address)], refusal));
        }
        return offered;
    }

    public static bool IsNvme(PciFunction function) => function.ClassCode >> 8 == NvmeSubclass;

    private static DeviceProblem? Refusal(PciFunction function, IReadOnlyList<PciFunction> members, HardwareInventory host, HostUses uses)
    {
        if (function.IsBridge)
            return AssignmentReasons.NotEndpoint.With();
        if (function.Capabilities.State == ConfigState.Gone)
            return AssignmentReasons.Gone.With();
        if (host.Groups.FirstOrDefault(g => g.Number == function.IommuGroup) is not { } group)
            return AssignmentReasons.NoGroup.With();
        if (group.HasDirectRegion != false)
            return (group.HasDirectRegion is null ? AssignmentReasons.RegionsUnread : AssignmentReasons.DirectRegion).With();
        foreach (var member in members)
        {
            if (uses.Storage.TryGetValue(member.Address, out var disk))
                return AssignmentReasons.BootStorage.With($"It is {disk} of {member.Address}.");
            if (uses.Network.TryGetValue(member.Address, out var name))
                return AssignmentReasons.NetworkInUse.With($"It is {name} of {member.Address}.");
            if (member.VirtualFunctions.Count > 0)
                return AssignmentReasons.HasVirtualFunctions.With($"It is {member.Address}, with {member.VirtualFunctions.Count}.");
        }
        if (function.ClassCode >> 16 == StorageClass && !IsNvme(function))
            return AssignmentReasons.StorageNotErasable.With();
        return FunctionReset.Choose(function, host) is null ? AssignmentReasons.NoReset.With($"It offers: {(function.ResetMethods is { Count: > 0 } some ? string.Join(", ", some) : "nothing")}.") : null;
    }

    private static IReadOnlyList<PciFunction> Members(PciFunction function, HardwareInventory host) =>
        function.IommuGroup is null ? [function] : [.. host.Functions.Where(f => f.IommuGroup == function.IommuGroup && !f.IsBridge)];
}
