using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// Moves a function from one driver to another by driver_override, which names this function alone and never its twins.
// Guarantees: ends within its limits, whatever a driver does; what is already so costs nothing. On a crash midway: done again, from wherever it stood.
internal sealed class DriverBinding(HostTree tree, IHostControl host)
{
    /// <summary>The host's own driver of NVMe controllers, which a VFIO driver never is.</summary>
    public const string Nvme = "nvme";
    private const string Drivers = "sys/bus/pci/drivers";
    private static readonly TimeSpan UnbindLimit = TimeSpan.FromSeconds(15), ProbeLimit = TimeSpan.FromSeconds(15), Quick = TimeSpan.FromSeconds(5);

    public string? DriverOf(PciAddress address) => tree.LinkName($"{PciScan.Directory}/{address}/driver");

    /// <summary>Null when the driver is loaded.</summary>
    public DeviceProblem? Missing(string driver) =>
        tree.Exists($"{Drivers}/{driver}") ? null : driver == Nvme ? AssignmentReasons.NoErasingDriver.With() : AssignmentReasons.NoVfioDriver.With($"It is {driver}.");

    public async Task<DeviceProblem?> BindAsync(PciAddress address, string driver, CancellationToken ct)
    {
        var path = $"{PciScan.Directory}/{address}";
        if (DriverOf(address) == driver)
            return null;
        if (Missing(driver) is { } missing)
            return missing;
        var named = await host.WriteAsync($"{path}/driver_override", driver, Quick, ct);
        if (!named.IsDone)
            return AssignmentReasons.BindFailed.With($"{address}: driver_override: {named.Said}.");
        if (await UnbindAsync(address, ct) is { } problem)
            return problem;
        var probed = await host.WriteAsync("sys/bus/pci/drivers_probe", address.ToString(), ProbeLimit, ct);
        return DriverOf(address) == driver ? null : AssignmentReasons.BindFailed.With($"{address} is on {DriverOf(address) ?? "no driver"}, not on {driver}. {probed.Said}".TrimEnd());
    }

    /// <summary>Back to the driver that it had; null: to none.</summary>
    public async Task<DeviceProblem?> GiveBackAsync(PciAddress address, string? driver, CancellationToken ct)
    {
        if (DriverOf(address) != driver && await UnbindAsync(address, ct) is { } problem)
            return problem;
        // An empty line takes the name away.
        var cleared = await host.WriteAsync($"{PciScan.Directory}/{address}/driver_override", "", Quick, ct);
        if (!cleared.IsDone)
            return AssignmentReasons.BindFailed.With($"{address}: driver_override: {cleared.Said}.");
        if (driver is null || DriverOf(address) == driver)
            return null;
        await host.WriteAsync("sys/bus/pci/drivers_probe", address.ToString(), ProbeLimit, ct);
        return DriverOf(address) == driver ? null : AssignmentReasons.BindFailed.With($"{address} is on {DriverOf(address) ?? "no driver"}, not on {driver}.");
    }

    private async Task<DeviceProblem?> UnbindAsync(PciAddress address, CancellationToken ct)
    {
        if (DriverOf(address) is not { } driver)
            return null;
        var unbound = await host.WriteAsync($"{PciScan.Directory}/{address}/driver/unbind", address.ToString(), UnbindLimit, ct);
        if (DriverOf(address) is null)
            return null;
        return (unbound.Outcome == HostOutcome.TimedOut ? AssignmentReasons.UnbindHangs : AssignmentReasons.UnbindRefused).With($"{address} is on {driver}: {unbound.Said}.");
    }
}
