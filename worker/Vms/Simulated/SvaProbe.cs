using System.Globalization;
using Contracts;
using Worker.Hardware;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Pci;

namespace Worker.Vms.Simulated;

// What a real guest's probe does, in the simulated one: the device writes and reads a page of the process at the process's own address, then the process gives
// the page up, and the device must not reach it any more.
internal static class SvaProbe
{
    private const long Limit = 20_000_000, Step = 10_000;

    public static IReadOnlyList<ProbeResult> Run(SimulatedMachine machine)
    {
        machine.Run(machine.Clock.Now + Limit / 100);
        return [.. machine.Devices.Select(device => Probe(machine, device))];
    }

    private static ProbeResult Probe(SimulatedMachine machine, Accelerator device)
    {
        var began = machine.Clock.Now;
        var page = machine.Process.Map(1, writable: true);
        machine.Share(page, 1);
        var wrote = Access(machine, device, page, write: true);
        var read = Access(machine, device, page, write: false);
        machine.Unshare(page, 1);
        Settle(machine, device);
        var stray = Access(machine, device, page, write: true, unmapped: true);
        var virtio = machine.Virtio is not null;
        var (outcome, reason, message) = (wrote, read, stray) switch
        {
            (false, _, _) => (ProbeOutcome.Failed, ProbeReasons.DeviceWriteMismatch, "The simulated device's write did not reach the process's page."),
            (_, false, _) => (ProbeOutcome.Failed, ProbeReasons.DeviceReadMismatch, "The simulated device's read did not reach the process's page."),
            (_, _, true) => (ProbeOutcome.Failed, ProbeReasons.UnmappedAccessReachedMemory, "The simulated device reached a page that its process had given up."),
            _ => (ProbeOutcome.Passed, ProbeReasons.SharedAddressesMatched, virtio
                ? "The simulated device worked on a process's own addresses, mapped ahead; an access to a page given up was refused."
                : "The simulated device worked on a process's own addresses by its PASID; an access to a page given up was refused."),
        };
        var (vendor, id) = DeviceVerdict.IdentityOf(EmulatedDeviceOptions.Simulated);
        return new ProbeResult(
            string.Create(CultureInfo.InvariantCulture, $"0000:00:{device.StreamId >> 3:x2}.{device.StreamId & 7}"), $"0x{vendor}", $"0x{id}", outcome, reason, message,
            string.Create(CultureInfo.InvariantCulture, $"0x{page:x}"), read, wrote, "sent", !virtio, !virtio && machine.Model.Device.Faults == FaultModel.Pri, !virtio && machine.Model.Device.Faults == FaultModel.Pri,
            virtio ? "virtio-iommu, simulated" : "arm-smmu-v3, simulated", (machine.Clock.Now - began) / 1000);
    }

    /// <summary>Whether the access reached the very page that the process's own CPU would; of an unmapped one, whether it reached anything.</summary>
    private static bool Access(SimulatedMachine machine, Accelerator device, ulong page, bool write, bool unmapped = false)
    {
        ulong? reached = null;
        device.Reached = access => reached = access.Output;
        device.Begin(machine.Process.Pasid, page + 0x40, write);
        Settle(machine, device);
        device.Reached = null;
        if (unmapped)
            return reached is not null;
        var entry = machine.Process.Tables.Get(page);
        var frame = Descriptor.AddressOf(entry, machine.Process.Shift);
        return (entry & Descriptor.Valid) != 0 && reached == (machine.Virtio is null ? machine.Guest.ToPhysical(frame) : frame) + 0x40;
    }

    private static void Settle(SimulatedMachine machine, Accelerator device)
    {
        for (var waited = 0L; waited < Limit && (device.Busy > 0 || machine.Driver.Pending.Count > 0); waited += Step)
            machine.Run(machine.Clock.Now + Step);
    }
}
