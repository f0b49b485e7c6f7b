using Contracts;
using Worker.Checks;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Worker.Vms;

namespace Worker.Hardware;

// All that the node hands out: what QEMU emulates and what is simulated, under the names of the settings, and the host's own functions, under their PCI addresses.
// A name with a colon is an address, and no setting's name has one. fitsKvmtool: whether a function's memory fits into kvmtool's window.
public sealed class NodeDevices(EmulatedDevices emulated, AssignedDevices assigned, QemuFacts qemu, Acceleration acceleration, Func<string, bool> fitsKvmtool)
{
    /// <summary>All of the devices or, with the failure, none.</summary>
    public bool TryHold(Guid sandbox, IReadOnlyList<string> addresses, DateTimeOffset now, out Failure? failure)
    {
        if (!emulated.TryHold(sandbox, [.. addresses.Where(IsEmulated)], now, out failure))
            return false;
        var before = assigned.HeldBy(sandbox);
        foreach (var address in addresses.Where(IsAssigned))
        {
            if (assigned.TryHold(sandbox, address) is not { } problem)
                continue;
            failure = problem.ToFailure(now);
            foreach (var held in assigned.HeldBy(sandbox).Except(before))
                assigned.LetGo(sandbox, held);
            emulated.LetGo(sandbox);
            return false;
        }
        return true;
    }

    /// <summary>What the record of an earlier worker says that a sandbox has.</summary>
    public void Adopt(Guid sandbox, IReadOnlyList<string> addresses, DateTimeOffset now)
    {
        emulated.TryHold(sandbox, [.. addresses.Where(IsEmulated)], now, out _);
        foreach (var address in addresses.Where(IsAssigned))
            assigned.Adopt(sandbox, address);
    }

    public IReadOnlyList<HeldDevice> Describe(RuntimeDirectory directory, IReadOnlyList<string> addresses) =>
        [.. emulated.Describe(directory, addresses), .. addresses.Where(IsAssigned).Select(address => new HeldDevice(address, HeldDevice.Vfio, null))];

    /// <summary>Each ready for the VM's user; a <see cref="VmStartException"/> when one cannot be.</summary>
    public async Task<IReadOnlyList<HeldDevice>> PrepareAsync(RuntimeDirectory directory, IReadOnlyList<string> addresses, Vmm vmm, uint? user, CancellationToken ct)
    {
        var models = emulated.Describe(directory, addresses);
        if (addresses.FirstOrDefault(address => models.Any(model => model.Address == address && model.Kind == EmulatedDeviceOptions.Simulated) != (vmm == Vmm.Simulated)) is { } other)
            throw new VmStartException(StartReasons.DeviceOfOtherVmm, $"It is {other}, and the VMM {vmm}.");
        emulated.Prepare(models, user);
        var ready = new List<HeldDevice>(models);
        foreach (var address in addresses.Where(IsAssigned))
        {
            try
            {
                ready.Add(new HeldDevice(address, HeldDevice.Vfio, null) { Assigned = await assigned.PrepareAsync(address, vmm, user, ct) });
            }
            catch (DeviceException problem)
            {
                throw new VmStartException(problem.Problem);
            }
        }
        return ready;
    }

    /// <summary>Cleans and gives back; false while something stays held.</summary>
    public async Task<bool> ReleaseAsync(RuntimeDirectory directory, Guid sandbox, IReadOnlyList<string> addresses, CancellationToken ct)
    {
        var models = addresses.Where(IsEmulated).ToList();
        var clean = emulated.Release(directory, sandbox, models);
        foreach (var address in addresses.Where(IsAssigned))
            await assigned.ReleaseAsync(sandbox, address, ct);
        return clean.Count == models.Count;
    }

    /// <summary>Of devices that were released: a sentence for each that is quarantined or is not there any more.</summary>
    public IReadOnlyList<string> NotClean(IReadOnlyList<string> addresses) => [.. addresses.Where(IsAssigned).Select(assigned.NotClean).OfType<string>()];

    public IReadOnlyList<Failure> Problems => assigned.Problem is { } problem ? [problem] : [];

    /// <summary>Whether sandboxes have functions of the host, whose cleaning may take minutes.</summary>
    public bool HoldsFunctions => assigned.HoldsAny;

    public IReadOnlyList<string> HeldBy(Guid sandbox) => [.. emulated.HeldBy(sandbox), .. assigned.HeldBy(sandbox)];

    /// <summary>Whether anything was done; not where the plan's quarantine is no longer, or is a refusal that only its cause can end.</summary>
    public Task<bool> LiftAsync(PlannedDevice lifted, CancellationToken ct) => assigned.LiftAsync(lifted, ct);

    /// <summary>As the node judges it; null for a device that it does not have.</summary>
    public JudgedDevice? Judge(string address)
    {
        if (emulated.Configured.FirstOrDefault(d => d.Name == address) is { } model)
            return new JudgedDevice(DeviceVerdict.IdentityOf(model.Kind).VendorId, DeviceVerdict.IdentityOf(model.Kind).DeviceId, VerdictOf(model));
        return assigned.Views().FirstOrDefault(v => v.Device.Address == address) is { } view
            ? new JudgedDevice(Hex(view.Device.Function.Vendor), Hex(view.Device.Function.Device), view.Verdict)
            : null;
    }

    /// <summary>The host as it is now, with what was learned of its SMMUs.</summary>
    public HardwareInventory Inventory => assigned.Inventory;

    public IReadOnlyList<ReportedDevice> Report(VmSnapshot snapshot)
    {
        ReportedDevice Of(string address, Func<Guid?, DevicePhase, ReportedDevice> rest)
        {
            var holder = snapshot.Views.FirstOrDefault(v => v.HeldDevices.Contains(address))?.Sandbox;
            return rest(holder?.Id, holder?.State switch { null => DevicePhase.Available, VmState.Stopping => DevicePhase.Cleaning, _ => DevicePhase.Assigned });
        }
        return [.. emulated.Configured.Select(d => Of(d.Name, (holder, phase) => Describe(d, holder, phase))), .. assigned.Views().Select(v => Of(v.Device.Address, (holder, phase) => Describe(v, holder, phase)))];
    }

    private ReportedDevice Describe(EmulatedDeviceOptions device, Guid? holder, DevicePhase phase)
    {
        var (vendor, id) = DeviceVerdict.IdentityOf(device.Kind);
        if (device.Kind == EmulatedDeviceOptions.Simulated)
            return new ReportedDevice(
                device.Name, device.Class, vendor, id, "Simulated PCI Express function with ATS, PASID and page faults", Origin.Simulated, holder, phase, null, VerdictOf(device), [], false);
        var description = device.Kind == "edu" ? "QEMU edu device with a 64-bit DMA engine" : "QEMU NVMe controller with one scratch namespace";
        return new ReportedDevice(
            device.Name, device.Class, vendor, id, description, Origin.Emulated, holder, phase, null,
            VerdictOf(device), NodeChecks.Viommus(qemu), false);
    }

    private Verdict VerdictOf(EmulatedDeviceOptions device) =>
        device.Kind == EmulatedDeviceOptions.Simulated ? DeviceVerdict.Simulated() : DeviceVerdict.Emulated(device.Kind, qemu.Has(device.Kind));

    private ReportedDevice Describe(OfferedView view, Guid? holder, DevicePhase phase)
    {
        var function = view.Device.Function;
        return new ReportedDevice(
            view.Device.Address, view.Device.Rule.Class, Hex(function.Vendor), Hex(function.Device), DescriptionOf(function), assigned.Inventory.Origin, holder,
            holder is null && view.Quarantine is not null ? DevicePhase.Quarantined : phase, view.Quarantine, view.Verdict,
            AssignedViommus.Of(function, assigned.Inventory, qemu, acceleration, view.Device.Rule.Access),
            view.Device.Rule.Access != VfioAccess.Iommufd && fitsKvmtool(view.Device.Address));
    }

    private static string DescriptionOf(PciFunction function) =>
        $"PCI {(function.IsVirtual ? "virtual function" : "function")} {Hex(function.Vendor)}:{Hex(function.Device)}, class {function.ClassCode:x6}"
        + (function.NumaNode is { } numa ? $", NUMA node {numa}" : "") + (function.IommuGroup is { } group ? $", IOMMU group {group}" : "");

    private static bool IsAssigned(string address) => PciAddress.TryParse(address, out _);

    private static bool IsEmulated(string address) => !IsAssigned(address);

    private static string Hex(ushort id) => id.ToString("x4", System.Globalization.CultureInfo.InvariantCulture);
}
