using System.Buffers.Binary;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// Resets one function by the best way that reaches nothing else, and reads back that it is itself again and masters nothing.
// Assumes: no driver of the host uses it. On a crash midway: the next preparation or cleaning resets it again.
internal sealed class FunctionReset(HostTree tree, IHostControl host)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(15);
    /// <summary>The kernel's names, best first (drivers/pci/pci.c). Not pm: a function may keep its state over it.</summary>
    private static readonly string[] Best = ["device_specific", "flr", "af_flr", "acpi", "cxl_bus", "bus"];

    /// <summary>Null when nothing of what the kernel offers will do. A reset of the bus reaches all that is on it.</summary>
    internal static string? Choose(PciFunction function, HardwareInventory seen)
    {
        // A kernel before 5.15 does not say; it would take FLR where there is one.
        var offered = function.ResetMethods ?? (function.Capabilities.Flr == Presence.Present ? ["flr"] : []);
        return Best.FirstOrDefault(method => offered.Contains(method) && (method is not ("bus" or "cxl_bus") || IsAloneOnBus(function, seen)));
    }

    public async Task<DeviceProblem?> ResetAsync(PciFunction function, HardwareInventory seen, CancellationToken ct)
    {
        var path = $"{PciScan.Directory}/{function.Address}";
        if (Choose(function, seen) is not { } method)
            return AssignmentReasons.NoReset.With();
        if (function.ResetMethods is not null)
        {
            var chosen = await host.WriteAsync($"{path}/reset_method", method, Limit, ct);
            if (!chosen.IsDone || tree.Text($"{path}/reset_method") != method)
                return AssignmentReasons.ResetFailed.With($"{method} could not be chosen: {chosen.Said}.");
        }
        var reset = await host.WriteAsync($"{path}/reset", "1", Limit, ct);
        if (function.ResetMethods is { } all)
            await host.WriteAsync($"{path}/reset_method", string.Join(' ', all), Limit, ct);
        return reset.IsDone ? Verify(function, method) : AssignmentReasons.ResetFailed.With($"By {method}: {reset.Said}.");
    }

    private DeviceProblem? Verify(PciFunction before, string method)
    {
        const int command = 4, busMaster = 1 << 2;
        var config = tree.Bytes($"{PciScan.Directory}/{before.Address}/config", PciConfigSpace.UnprivilegedBytes);
        if (config is not { Length: >= PciConfigSpace.UnprivilegedBytes })
            return AssignmentReasons.ResetUnverified.With($"Its configuration space could not be read after {method}.");
        var (vendor, device) = (BinaryPrimitives.ReadUInt16LittleEndian(config), BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(2)));
        // A virtual function reads as all ones there; what it is stands in its physical function.
        if (!before.IsVirtual && (vendor != before.Vendor || device != before.Device))
            return AssignmentReasons.ResetUnverified.With($"After {method} it says to be {vendor:x4}:{device:x4}.");
        return (BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(command)) & busMaster) == 0
            ? null
            : AssignmentReasons.ResetUnverified.With($"After {method} it still masters the bus.");
    }

    private static bool IsAloneOnBus(PciFunction function, HardwareInventory seen) => seen.Functions.All(other =>
        other.Address.Domain != function.Address.Domain || other.Address.Bus != function.Address.Bus || other.Address == function.Address
        || (other.IommuGroup == function.IommuGroup && function.IommuGroup is not null));
}
