using Worker.Vms.Simulated;
using Worker.Vms.Simulated.Guest;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Pci;

namespace Worker.Tests.Simulated;

/// <summary>Watches every access of a machine that reaches memory, and knows by itself where it may have led. The first violation stays.</summary>
internal sealed class MachineOracle
{
    private readonly SimulatedMachine _machine;
    private readonly ulong _root2;
    /// <summary>For whom each access was begun: whoever has its PASID when it ends must be the same.</summary>
    private readonly Dictionary<(int Device, long Number), ProcessAddressSpace?> _begunFor = [];

    public MachineOracle(SimulatedMachine machine)
    {
        _machine = machine;
        _root2 = Ste(0).Stage2Root;
        foreach (var device in machine.Devices)
        {
            device.Reached = Look;
            device.Begins = (number, pasid) => _begunFor[(device.Index, number)] = machine.Driver.SpaceOf(pasid);
        }
    }

    public string? Violation { get; private set; }
    public long Seen { get; private set; }

    /// <summary>Conservation, at any moment.</summary>
    public void LookAtCredits()
    {
        foreach (var device in _machine.Devices)
            if (device.Credits < 0 || device.Credits + device.RequestsOutstanding != device.AllCredits)
                Violate($"device {device.Index} has {device.Credits} credits and {device.RequestsOutstanding} requests of {device.AllCredits}");
        var faults = _machine.PageFaults;
        if (faults.Waiting < 0 || faults.Latency.Total != faults.Success + faults.Invalid + faults.Failure)
            Violate("page faults do not add up");
    }

    /// <summary>Once nothing is under way any more.</summary>
    public void LookAtTheEnd()
    {
        LookAtCredits();
        foreach (var device in _machine.Devices)
        {
            if (device.Busy != 0 || device.Begun != device.Done + device.Failed + device.Cancelled)
                Violate($"device {device.Index} began {device.Begun} accesses and ended {device.Done} + {device.Failed} + {device.Cancelled}");
            if (device.Credits != device.AllCredits)
                Violate($"device {device.Index} has {device.Credits} of {device.AllCredits} credits back");
            if (device.ResponsesToNothing > 0 && _machine.Driver.DevicesReset == 0)
                Violate($"device {device.Index} was answered {device.ResponsesToNothing} times too often");
        }
        var (faults, driver) = (_machine.PageFaults, _machine.Driver);
        if (faults.Waiting != 0 || driver.FaultsInHand != 0 || driver.Pending.Count != 0 || _machine.Smmu.Stalled != 0)
            Violate($"{faults.Waiting} faults wait, {driver.FaultsInHand} are in hand, {driver.Pending.Count} invalidations pend, {_machine.Smmu.Stalled} transactions are stalled");
        if (driver.DevicesReset == 0 && (driver.Answers != faults.Success + faults.Invalid + faults.Failure || _machine.Smmu.ResumesOfNothing != 0))
            Violate($"{driver.Answers} answers to {faults.Success} + {faults.Invalid} + {faults.Failure} faults");
        if (!_machine.Smmu.Commands.IsEmpty)
            Violate("commands are left");
    }

    private StreamTableEntry Ste(int device) => StreamTableEntry.TryRead(_machine.Memory, _machine.Smmu.AddressOfSte(_machine.Devices[device].StreamId), out var ste) ? ste : default;

    private void Look(ReachedMemory reached)
    {
        Seen++;
        // virtio-iommu tells the guest's physical address.
        var access = _machine.Virtio is null ? reached : reached with { Output = _machine.Guest.ToPhysical(reached.Output) };
        LookAtCredits();
        if (_machine.Driver.SpaceOf(access.Pasid) is not { HasExited: false } space)
        {
            Violate($"an access by PASID {access.Pasid}, which nobody has");
            return;
        }
        if (_begunFor.Remove((access.Device, access.Number), out var begunFor) && begunFor != space)
        {
            Violate($"an access that was begun for another process reached memory of PASID {access.Pasid}'s next one");
            return;
        }
        var (shift1, shift2) = (_machine.Model.Shift1, _machine.Model.Shift2);
        var now = PlainWalk.Both(_machine.Memory, space.Tables.Root, shift1, _root2, shift2, access.Address);
        if (now is { } found && found.Physical == access.Output && (found.Writable || !access.Write))
        {
            if (found.Writable && _machine.Guest.References(space.Tables.Get(access.Address) & 0x0000_FFFF_FFFF_F000 & ~((1UL << shift1) - 1)) != 1)
                Violate($"PASID {access.Pasid} may write to a page that it shares");
            return;
        }
        var page = access.Address & ~((1UL << shift1) - 1);
        foreach (var pending in _machine.Driver.Pending)
        {
            if (pending.Space != space)
                continue;
            if (pending.ProtectsWrites && now is { } shared && shared.Physical == access.Output)
                return;
            foreach (var gone in pending.Gone)
                if (gone.Address == page && _machine.Guest.ToPhysical(gone.Frame + (access.Address - page)) == access.Output && !(access.Write && pending.Then == Then.GoOnWithFault && !ForkPends(space)) && !IsUsedAnew(gone))
                    return;
        }
        Violate($"PASID {access.Pasid} {(access.Write ? "wrote" : "read")} {access.Address:x} at {access.Output:x}, which is {(now is { } is_ ? $"{is_.Physical:x}{(is_.Writable ? "" : ", read-only")}" : "not mapped")}");
    }

    /// <summary>Whether a page that devices may still reach was given to somebody else. A child that shares it since a fork has it at the same address.</summary>
    private bool IsUsedAnew(GonePage gone)
    {
        if (_machine.Guest.References(gone.Frame) == 0)
            return true;
        var (shift1, shift2) = (_machine.Model.Shift1, _machine.Model.Shift2);
        for (var pasid = 1; pasid < _machine.Driver.Pasids; pasid++)
            for (var page = 0; _machine.Driver.SpaceOf(pasid) is { HasExited: false } space && page < _machine.Model.Pages; page++)
                if (_machine.Buffer + ((ulong)page << shift1) is var address && address != gone.Address
                    && PlainWalk.Both(_machine.Memory, space.Tables.Root, shift1, _root2, shift2, address) is { } found && found.Physical == _machine.Guest.ToPhysical(gone.Frame))
                    return true;
        return false;
    }

    private bool ForkPends(ProcessAddressSpace space) => _machine.Driver.Pending.Any(pending => pending.Space == space && pending.ProtectsWrites);

    private void Violate(string what) => Violation ??= $"at {_machine.Clock.Now} ns: {what}";
}
