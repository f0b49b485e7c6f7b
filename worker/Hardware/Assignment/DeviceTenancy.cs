using Contracts;
using Worker.Checks;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// One device before and after a tenant: bound with its whole group, reset and read back, its storage erased, its node given and taken.
// Guarantees: nothing of one tenant reaches the next, or the device is not handed out; every step ends within a limit.
// Assumes: the caller holds the device (AssignedDevices) and no VMM has it open. On a crash midway: the next worker cleans it again from the start.
internal sealed class DeviceTenancy(HostTree tree, IHostControl host, QemuFacts vmm)
{
    private static readonly TimeSpan OpenLimit = TimeSpan.FromSeconds(15);
    private readonly DriverBinding _binding = new(tree, host);
    private readonly FunctionReset _reset = new(tree, host);

    /// <summary>Drivers that the functions of the group have now, by address: what giving back restores.</summary>
    public IReadOnlyDictionary<string, string> DriversNow(OfferedFunction device) => Group(device)
        .Select(address => (address, Driver: _binding.DriverOf(address))).Where(f => f.Driver is not null && f.Driver != device.Rule.Driver && !f.Driver.Contains("vfio", StringComparison.Ordinal))
        .ToDictionary(f => f.address.ToString(), f => f.Driver!, StringComparer.Ordinal);

    /// <summary>Null when every driver that a tenancy needs is loaded.</summary>
    public DeviceProblem? MissingDriver(OfferedFunction device) =>
        _binding.Missing(device.Rule.Driver) ?? (AssignmentRules.IsNvme(device.Function) ? _binding.Missing(DriverBinding.Nvme) : null);

    public bool IsOnVfio(OfferedFunction device) => _binding.DriverOf(device.Function.Address) == device.Rule.Driver;

    /// <summary>Makes it ready for a VM's user, or throws a <see cref="DeviceException"/>.</summary>
    public async Task<AssignedFunction> PrepareAsync(OfferedFunction device, Vmm kind, HardwareInventory seen, bool knownClean, uint? user, CancellationToken ct)
    {
        await RequireUnusedAsync(device, ct);
        if (!knownClean)
            Require(await EraseAsync(device, ct));
        await BindGroupAsync(device, ct);
        Require(await _reset.ResetAsync(device.Function, seen, ct));
        var translation = host.AskSmmu(device.Function.Address);
        var (access, node) = AccessOf(device, kind);
        if (node is null)
            throw new DeviceException(AssignmentReasons.NoVfioDevice.With(), quarantines: false);
        if (!host.Own(node, user).IsDone)
            throw new DeviceException(AssignmentReasons.NodeNotGiven.With($"It is {node}."), quarantines: false);
        var function = device.Function;
        var smmu = seen.Smmus.FirstOrDefault(s => s.Name == function.Iommu);
        return new AssignedFunction(
            function.Address, access, node, function.Iommu, function.NumaNode, translation, smmu?.Has(SmmuFeatures.Nesting) == true,
            function.Capabilities.Ats == Presence.Present && smmu?.Has(SmmuFeatures.Ats) == true);
    }

    public void TakeBack(PciFunction function)
    {
        foreach (var node in Nodes(function))
            host.Own(node, null);
    }

    /// <summary>Null when nothing of the tenant is left on it.</summary>
    public async Task<DeviceException?> CleanAsync(OfferedFunction device, HardwareInventory seen, IReadOnlyDictionary<string, string> drivers, CancellationToken ct)
    {
        try
        {
            // First of all: the user's number goes to another VM, whatever fails from here on.
            TakeBack(device.Function);
            Require(MissingDriver(device));
            await BindGroupAsync(device, ct);
            Require(await _reset.ResetAsync(device.Function, seen, ct));
            Require(await EraseAsync(device, ct));
            if (device.Rule.GiveBackDriver)
                foreach (var address in Group(device))
                    Require(await _binding.GiveBackAsync(address, drivers.GetValueOrDefault(address.ToString()), ct));
            else
                await BindGroupAsync(device, ct);
            return null;
        }
        catch (DeviceException problem)
        {
            return problem;
        }
    }

    private async Task BindGroupAsync(OfferedFunction device, CancellationToken ct)
    {
        await RequireUnusedAsync(device, ct);
        foreach (var address in Group(device))
            Require(await _binding.BindAsync(address, device.Rule.Driver, ct));
    }

    /// <summary>Unbinding pulls a disk from under whatever works on it, and a disk that comes back is nobody's: so all of the group are tried before the first leaves.</summary>
    private async Task RequireUnusedAsync(OfferedFunction device, CancellationToken ct)
    {
        foreach (var address in Group(device).Where(address => _binding.DriverOf(address) == DriverBinding.Nvme))
            if (await host.TryDisksAsync(address, OpenLimit, ct) is { IsDone: false } answer)
                Require((answer.Outcome == HostOutcome.TimedOut ? AssignmentReasons.StorageHangs : AssignmentReasons.BootStorage).With($"It is one of {address}: {answer.Said}."));
    }

    /// <summary>Only the host's own driver can erase a controller, so the function visits it.</summary>
    private async Task<DeviceProblem?> EraseAsync(OfferedFunction device, CancellationToken ct)
    {
        if (!AssignmentRules.IsNvme(device.Function))
            return null;
        if (await _binding.BindAsync(device.Function.Address, DriverBinding.Nvme, ct) is { } problem)
            return problem;
        var erased = await host.EraseNamespacesAsync(device.Function.Address, ct);
        return erased.Outcome switch
        {
            HostOutcome.Done => null,
            HostOutcome.OutOfReach => AssignmentReasons.NamespacesOutOfReach.With(erased.Said),
            _ => AssignmentReasons.NotErased.With($"{erased.Said}."),
        };
    }

    /// <summary>As the settings say; else by iommufd where host and VMM have it, and by the group's container where not. kvmtool knows nothing but the container.</summary>
    private (VfioAccess Access, string? Node) AccessOf(OfferedFunction device, Vmm kind)
    {
        var nodes = Nodes(device.Function);
        if (kind == Vmm.Qemu && device.Rule.Access != VfioAccess.Container && vmm.VfioProperties.Contains("iommufd") && tree.Exists("dev/iommu") && nodes.FirstOrDefault(node => node.Contains("/vfio/devices/", StringComparison.Ordinal)) is { } own)
            return (VfioAccess.Iommufd, own);
        return (VfioAccess.Container, device.Rule.Access != VfioAccess.Iommufd && tree.Exists("dev/vfio/vfio") ? nodes.FirstOrDefault(node => !node.Contains("/vfio/devices/", StringComparison.Ordinal)) : null);
    }

    /// <summary>The device's own node and its group's, as far as there are any.</summary>
    private List<string> Nodes(PciFunction function)
    {
        var names = tree.Names($"{PciScan.Directory}/{function.Address}/vfio-dev");
        string[] own = names is [var name] && IsVfioName(name) ? [$"dev/vfio/devices/{name}"] : [], ofGroup = function.IommuGroup is { } group ? [$"dev/vfio/{group}"] : [];
        string[] paths = [.. own, .. ofGroup];
        return [.. paths.Where(tree.Exists).Select(path => Path.Combine(tree.Root, path))];
    }

    private static bool IsVfioName(string name) => name.StartsWith("vfio", StringComparison.Ordinal) && name.Length > 4 && name.AsSpan(4).IndexOfAnyExceptInRange('0', '9') < 0;

    private static IEnumerable<PciAddress> Group(OfferedFunction device) => [device.Function.Address, .. device.Parked];

    private static void Require(DeviceProblem? problem)
    {
        if (problem is not null)
            throw new DeviceException(problem, quarantines: problem.Reason != AssignmentReasons.NoVfioDriver.Code && problem.Reason != AssignmentReasons.NoErasingDriver.Code);
    }
}
