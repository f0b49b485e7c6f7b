using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Memory;
using Worker.Vms.Simulated.Pci;

namespace Worker.Vms.Simulated.Guest;

/// <summary>What follows on an invalidation.</summary>
internal enum Then : byte { BindDone, UnbindDone, FreePages, GoOnWithFault, ForkDone }

/// <summary>An invalidation that has not ended: of a page range, or (no pages) of all of a space. <c>Gone</c>: what its pages were mapped to.
/// <c>ProtectsWrites</c>: the pages stay and are no longer writable.</summary>
internal sealed record PendingInvalidation(ProcessAddressSpace Space, int Pasid, ulong Address, int Pages, Then Then, IReadOnlyList<GonePage> Gone)
{
    public bool ProtectsWrites => Then == Then.ForkDone;
    public int Fault { get; init; } = -1;
    public ProcessAddressSpace? Child { get; init; }
    public int Step { get; set; }
}

// The guest kernel's part of SVA, after Linux's: it binds address spaces to PASIDs, invalidates in the order TLBI, SYNC, ATC_INV, SYNC when one changes, and
// serves page requests and stalled transactions. Guarantees: a PASID is free again only when nothing of it can be used; every group that has a
// last request and every stalled transaction gets one answer; a device that does not answer an invalidation is reset before anything is given back.
internal sealed partial class SvaDriver
{
    private const int MaxPagesByAddress = 32;
    private enum PasidState : byte { Free, Binding, Bound, Draining, Clearing, Cleared }

    private readonly Smmu _smmu;
    private readonly PhysicalMemory _memory;
    private readonly GuestPhysicalMemory _guest;
    private readonly Agenda _agenda;
    private readonly VirtualClock _clock;
    private readonly SimulatedTimings _timings;
    private readonly SeededRandom _random;
    private readonly ushort _vmid;
    private readonly bool _stalls, _usesAts;
    private readonly ulong _contextTable;
    private readonly int _contextBits;
    private readonly List<Accelerator> _devices = [];
    private readonly PasidState[] _states;
    private readonly ProcessAddressSpace?[] _spaces;
    private readonly Queue<Command> _backlog = new();
    private readonly Queue<PendingInvalidation> _syncs = new();
    private readonly List<PendingInvalidation> _pending = [];

    public SvaDriver(Smmu smmu, PhysicalMemory memory, GuestPhysicalMemory guest, int shift, FaultModel faults, ushort vmid, Agenda agenda, VirtualClock clock, SimulatedTimings timings, SeededRandom random)
    {
        (_smmu, _memory, _guest, _vmid, _agenda, _clock, _timings, _random, Shift) = (smmu, memory, guest, vmid, agenda, clock, timings, random, shift);
        (_stalls, _usesAts) = (faults == FaultModel.Stall, faults == FaultModel.Pri);
        // One page of descriptors.
        _contextBits = Math.Min(shift - 6, 8);
        _contextTable = guest.Take();
        (_states, _spaces) = (new PasidState[1 << _contextBits], new ProcessAddressSpace?[1 << _contextBits]);
        smmu.CommandConsumed = SendBacklog;
        smmu.SyncCompleted = SyncCompletes;
        for (var fault = 0; fault < MaxFaults; fault++)
            _faults[fault] = new Fault();
    }

    public int Shift { get; }
    public int Pasids => _states.Length;
    public IReadOnlyList<PendingInvalidation> Pending => _pending;
    public long DevicesReset { get; private set; }
    public long FaultsServed { get; private set; }
    /// <summary>Served faults of processes that have exited.</summary>
    public long FaultsOfExited { get; private set; }

    /// <summary>The stream table entry of a device of the guest, as the hypervisor writes it: its own stage 2 below what the guest says of stage 1.</summary>
    public void Attach(Accelerator device, PageTables stage2)
    {
        _devices.Add(device);
        new StreamTableEntry(true, StreamConfig.Nested, _contextTable, _contextBits, DefaultSubstream.Terminate, _usesAts, !_stalls, _vmid, PageTables.AddressBits, stage2.Shift, stage2.Root, true)
            .Write(_memory, _smmu.AddressOfSte(device.StreamId));
        Push(Command.Ste(device.StreamId));
    }

    public ProcessAddressSpace NewSpace() => new(_memory, _guest, Shift, 0x7F00_0000_0000 + ((ulong)_random.Below(1 << 20) << Shift));

    public bool IsBound(ProcessAddressSpace space) => space.Pasid > 0 && _states[space.Pasid] == PasidState.Bound;

    public ProcessAddressSpace? SpaceOf(int pasid) => _spaces[pasid];

    /// <summary>Gives the space a PASID; false when there is none left. Devices may use it once <see cref="IsBound"/>.</summary>
    public bool TryBind(ProcessAddressSpace space)
    {
        var pasid = Array.FindIndex(_states, 1, state => state == PasidState.Free);
        if (pasid < 0)
            return false;
        (_states[pasid], _spaces[pasid], space.Pasid) = (PasidState.Binding, space, pasid);
        new ContextDescriptor(true, AsidOf(pasid), space.Tables.Root, Shift, PageTables.AddressBits, _stalls, true, false, false).Write(_guest, AddressOfDescriptor(pasid));
        Begin(new PendingInvalidation(space, pasid, 0, 0, Then.BindDone, []));
        return true;
    }

    /// <summary>Takes the PASID away, and the space with it. Orderly, it waits for the device to be done with it; otherwise, as when a process is killed, the
    /// device finds out by its faults.</summary>
    public void Unbind(ProcessAddressSpace space, bool orderly)
    {
        if (!IsBound(space))
            return;
        _states[space.Pasid] = PasidState.Draining;
        if (orderly)
            PasidIsDrained(space.Pasid);
        else
            Clear(space.Pasid);
    }

    /// <summary>What waits for the device to be done with a PASID goes on, or waits on.</summary>
    public void PasidIsDrained(int pasid)
    {
        if (_devices.TrueForAll(device => device.IsDrained(pasid)))
        {
            if (_states[pasid] == PasidState.Cleared)
                _states[pasid] = PasidState.Free;
            else
                Clear(pasid);
        }
        else
            _agenda.After(_timings.Fault, Activity.PasidIsDrained, 0, pasid);
    }

    public void Unmap(ProcessAddressSpace space, ulong address, int pages, bool keepArea)
    {
        var gone = space.Unmap(address, pages, keepArea);
        if (gone.Count == 0)
            return;
        var first = gone[0].Address;
        Begin(new PendingInvalidation(space, space.Pasid, first, (int)((gone[^1].Address - first) >> Shift) + 1, Then.FreePages, gone));
    }

    /// <summary>The child is bound as soon as the parent can write to nothing that they share; null when memory or PASIDs are short, or a copy is being made.</summary>
    public ProcessAddressSpace? Fork(ProcessAddressSpace parent)
    {
        if (!IsBound(parent) || parent.IsBreaking || Array.FindIndex(_states, 1, state => state == PasidState.Free) < 0 || parent.Fork() is not { } child)
            return null;
        Begin(new PendingInvalidation(parent, parent.Pasid, 0, 0, Then.ForkDone, []) { Child = child });
        return child;
    }

    private static ushort AsidOf(int pasid) => (ushort)(0x100 + pasid);

    private ulong AddressOfDescriptor(int pasid) => _contextTable + ((ulong)pasid * ContextDescriptor.Bytes);

    private void Clear(int pasid)
    {
        _states[pasid] = PasidState.Clearing;
        _guest.Write(AddressOfDescriptor(pasid), 0);
        Begin(new PendingInvalidation(_spaces[pasid]!, pasid, 0, 0, Then.UnbindDone, []));
    }

    private void Begin(PendingInvalidation invalidation)
    {
        _pending.Add(invalidation);
        var asid = AsidOf(invalidation.Pasid);
        if (invalidation.Then is Then.BindDone or Then.UnbindDone)
            foreach (var device in _devices)
                Push(Command.Cd(device.StreamId, invalidation.Pasid));
        if (invalidation.Pages is 0 or > MaxPagesByAddress)
            Push(Command.TlbiByAsid(_vmid, asid));
        else
            for (var page = 0; page < invalidation.Pages; page++)
                Push(Command.TlbiByAddress(_vmid, asid, invalidation.Address + ((ulong)page << Shift)));
        Sync(invalidation);
    }

    private void SyncCompletes(bool failed)
    {
        var invalidation = _syncs.Dequeue();
        if (failed)
            ResetDevices();
        if (invalidation.Step++ == 0 && _usesAts && invalidation.Then != Then.BindDone)
        {
            InvalidateAtcs(invalidation);
            Sync(invalidation);
            return;
        }
        _pending.Remove(invalidation);
        End(invalidation);
    }

    private void InvalidateAtcs(PendingInvalidation invalidation)
    {
        foreach (var device in _devices)
        {
            if (invalidation.Pages is 0 or > MaxPagesByAddress)
                Push(Command.Atc(device.StreamId, invalidation.Pasid, 0, Command.WholeAddressSpace));
            else
                for (var page = 0; page < invalidation.Pages; page++)
                    Push(Command.Atc(device.StreamId, invalidation.Pasid, invalidation.Address + ((ulong)page << Shift), Shift - 12));
        }
    }

    private void End(PendingInvalidation invalidation)
    {
        switch (invalidation.Then)
        {
            case Then.BindDone:
                _states[invalidation.Pasid] = PasidState.Bound;
                break;
            case Then.UnbindDone:
                FaultsOfExited += invalidation.Space.FaultsServed;
                invalidation.Space.Exit();
                invalidation.Space.Pasid = 0;
                (_states[invalidation.Pasid], _spaces[invalidation.Pasid]) = (PasidState.Cleared, null);
                // What the device still has under way fails, but until it has, it would be the next one's.
                PasidIsDrained(invalidation.Pasid);
                break;
            case Then.FreePages:
                foreach (var page in invalidation.Gone)
                    _guest.Return(page.Frame);
                break;
            case Then.GoOnWithFault:
                GoOn(invalidation);
                break;
            case Then.ForkDone:
                if (!TryBind(invalidation.Child!))
                    invalidation.Child!.Exit();
                break;
        }
    }

    private void ResetDevices()
    {
        foreach (var device in _devices)
        {
            device.Reset();
            DevicesReset++;
            DropUnfinished(device.StreamId);
        }
    }

    private void Sync(PendingInvalidation invalidation)
    {
        _syncs.Enqueue(invalidation);
        Push(Command.Sync());
    }

    private void Push(Command command)
    {
        if (_backlog.Count > 0 || !_smmu.TryPush(command))
            _backlog.Enqueue(command);
    }

    private void SendBacklog()
    {
        while (_backlog.TryPeek(out var command) && _smmu.TryPush(command))
            _backlog.Dequeue();
    }
}
