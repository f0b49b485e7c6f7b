using Worker.Hardware;
using Worker.Hardware.Assignment;

namespace Worker.Checks;

// Pure: which devices a node's settings offer, as lines for a person.
public static class OfferedTable
{
    public static IEnumerable<string> Lines(IReadOnlyList<PassthroughOptions> rules, IReadOnlyList<EmulatedDeviceOptions> models, HardwareInventory host, HostUses uses)
    {
        foreach (var group in models.GroupBy(model => (model.Class, model.Kind)))
            yield return $"offered     {group.Count()} {(group.Key.Kind == EmulatedDeviceOptions.Simulated ? "" : "emulated ")}{group.Key.Kind} of class {group.Key.Class}";
        foreach (var device in AssignmentRules.Offer(rules, host, uses))
        {
            yield return $"offered     {device.Address} of class {device.Rule.Class}{(device.Rule.Access is { } access ? $" by {access}" : "")}"
                + (device.Refusal is { } refusal ? $", refused now: {refusal.Reason}: {refusal.Message}" : AssignmentRules.IsNvme(device.Function) ? ", WILL BE ERASED before its first tenant and after each" : "");
            if (device.Parked.Count > 0)
                yield return $"            with it goes its IOMMU group: {string.Join(", ", device.Parked)}";
        }
        foreach (var (number, rule) in rules.Index().Where(r => !host.Functions.Any(r.Item.Matches)))
            yield return $"offered     nothing by rule {number}: no function here is {rule.Address ?? $"{rule.VendorId}:{rule.DeviceId}"}";
    }
}
