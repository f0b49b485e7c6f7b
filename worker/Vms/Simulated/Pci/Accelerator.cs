using System.Text.Json.Serialization;
using Contracts;
using Worker.Vms.Simulated.Iommu;
using Worker.Vms.Simulated.Workloads;

namespace Worker.Vms.Simulated.Pci;

/// <summary>How a device gets at memory that is not there yet: by ATS and page requests (PRI), or by transactions that the SMMU stalls. <c>Mapped</c>: not at all, it
/// stands behind virtio-iommu and works on what was mapped ahead.</summary>
[JsonConverter(typeof(NamedEnum<FaultModel>))]
internal enum FaultModel : byte { Pri, Stall, Mapped }

/// <summary>A device's own numbers. <c>Interval</c>: nanoseconds from one access to the next. <c>Credits</c>: PRI's Outstanding Page Request Allocation.
/// <c>GroupSize</c>: page requests of a group, at most. <c>SilentPerMillion</c>: how many invalidations it does not answer.</summary>
internal sealed record AcceleratorModel(FaultModel Faults, long Interval, int Slots, int Credits, int GroupSize, int AtcEntries, int SilentPerMillion)
{
    public static readonly AcceleratorModel Default = new(FaultModel.Pri, 100, 32, 32, 4, 256, 0);
}

/// <summary>An access that reached memory. <c>Number</c>: which of the device's it was, from 1 on.</summary>
internal readonly record struct ReachedMemory(int Device, long Number, int Pasid, ulong Address, bool Write, ulong Output);

// A PCI Express function that works on processes' addresses: many accesses at once, each in a slot, tagged with a PASID.
// Guarantees: an access ends once, done or failed; a group of page requests is answered once, and only then its credits come back; what an invalidation
// names is out of the ATC before it is answered.
internal sealed partial class Accelerator
{
    private enum SlotState : byte { Free, Asks, WaitsForGroup, WaitsForPage, Walks, Stalls }

    private struct Slot
    {
        public SlotState State;
        public int Pasid, Group, Tries;
        public long Number;
        public ulong Address;
        public bool Write;
    }

    private readonly VirtualClock _clock;
    private readonly Agenda _agenda;
    private readonly SimulatedTimings _timings;
    private readonly PageFaultCounters _pageFaults;
    private readonly SeededRandom _random;
    private readonly Smmu _smmu;
    private readonly AcceleratorModel _model;
    private readonly Workload _workload;
    private readonly int _shift;
    private readonly TranslationCache _atc;
    private readonly Slot[] _slots;
    private readonly Stack<int> _free = new();
    private long _nextWhenFree;
    private bool _blocked, _paused;

    // index: Its number in the SMMU. streamId: Its RequesterID. shift: The Smallest Translation Unit's, of the smaller granule.
    public Accelerator(
        int index, uint streamId, int shift, AcceleratorModel model, Workload workload, Smmu smmu, VirtualClock clock, Agenda agenda, SimulatedTimings timings, PageFaultCounters pageFaults, SeededRandom random)
    {
        (Index, StreamId, _shift, _model, _workload, _smmu, _clock, _agenda, _timings, _pageFaults, _random) = (index, streamId, shift, model, workload, smmu, clock, agenda, timings, pageFaults, random);
        _atc = new TranslationCache(model.AtcEntries);
        _slots = new Slot[Math.Min(model.Slots, workload.Outstanding)];
        for (var slot = _slots.Length - 1; slot >= 0; slot--)
            _free.Push(slot);
        Credits = model.Credits;
        smmu.Attach(this);
    }

    public int Index { get; }
    public uint StreamId { get; }
    /// <summary>Messages on their way to the device from before its last reset are not taken.</summary>
    public int Epoch { get; private set; }
    public long NextIssueAt { get; private set; }
    public long Begun { get; private set; }
    public long Done { get; private set; }
    public long Failed { get; private set; }
    public long Cancelled { get; private set; }
    public long AtcHits { get; private set; }
    public long AtsRequests { get; private set; }
    /// <summary>Translation requests that were answered with a translation.</summary>
    public long AtsTranslated { get; private set; }
    public int Busy => _slots.Length - _free.Count;
    public bool CanBegin => _free.Count > 0;
    /// <summary>Told of each access as it begins: its number and PASID.</summary>
    public Action<long, int>? Begins { get; set; }
    public Action<ReachedMemory>? Reached { get; set; }
    /// <summary>What it stands behind instead of the SMMU.</summary>
    public VirtioIommu? Virtio { get; init; }

    /// <summary>Begins nothing of itself from now on, or begins.</summary>
    public void Pause(bool paused)
    {
        (_paused, _blocked) = (paused, false);
        NextIssueAt = paused ? long.MaxValue : _clock.Now;
    }

    /// <summary>Begins accesses until a time, or until something else is due.</summary>
    public void IssueUntil(long until)
    {
        while (NextIssueAt <= until && NextIssueAt < _agenda.NextAt)
        {
            if (_free.Count == 0)
            {
                (_blocked, _nextWhenFree, NextIssueAt) = (true, NextIssueAt, long.MaxValue);
                return;
            }
            _clock.AdvanceTo(NextIssueAt);
            NextIssueAt += _model.Interval;
            _workload.Next(out var access);
            if (access.Pasid > 0)
                Begin(access.Pasid, access.Address, access.Write);
        }
    }

    public void Begin(int pasid, ulong address, bool write)
    {
        Begun++;
        Begins?.Invoke(Begun, pasid);
        var wanted = write ? Permissions.Write : Permissions.Read;
        if (_model.Faults == FaultModel.Pri)
        {
            if (_atc.TryFind((ulong)pasid, address, _shift, out var output, out var permissions, out _) && (permissions & wanted) != 0)
            {
                AtcHits++;
                Reach(Begun, pasid, address, write, output);
                return;
            }
            Ask(Take(pasid, address, write));
            return;
        }
        if (Virtio is { } virtio)
        {
            if (virtio.TryTranslate(StreamId, address, write, out var physical))
                Reach(Begun, pasid, address, write, physical);
            else
                Failed++;
            return;
        }
        var slot = Take(pasid, address, write);
        _slots[slot].State = SlotState.Walks;
        switch (_smmu.Translate(new Transaction(StreamId, pasid, address, write, false, Index, slot, Epoch), out var translated))
        {
            case Outcome.Hit:
                Finish(slot, translated.Output);
                break;
            case Outcome.Abort:
                Abort(slot);
                break;
        }
    }

    /// <summary>No slot works for a PASID any more.</summary>
    public bool IsDrained(int pasid)
    {
        foreach (ref readonly var slot in _slots.AsSpan())
            if (slot.State != SlotState.Free && slot.Pasid == pasid)
                return false;
        return true;
    }

    public void Finish(int slot, ulong output)
    {
        ref readonly var work = ref _slots[slot];
        Reach(work.Number, work.Pasid, work.Address, work.Write, output);
        Free(slot);
    }

    public void Abort(int slot)
    {
        Failed++;
        Free(slot);
    }

    public void Stall(int slot, int stag) => (_slots[slot].State, _slots[slot].Group) = (SlotState.Stalls, stag);

    public void Retry(int slot) => _slots[slot].State = SlotState.Walks;

    /// <summary>A reset of the function (FLR): nothing of before is left in it.</summary>
    public void Reset()
    {
        Epoch++;
        _atc.InvalidateAll();
        ForgetGroups();
        for (var slot = 0; slot < _slots.Length; slot++)
            if (_slots[slot].State != SlotState.Free)
            {
                Cancelled++;
                Free(slot);
            }
        if (!_paused)
            (_blocked, NextIssueAt) = (false, _clock.Now + _timings.Reset);
    }

    /// <summary>An invalidation's answer goes back at once: accesses that hit the ATC do not last.</summary>
    public void Invalidate(int tag, uint number)
    {
        var (pasid, address, sizeShift, sent) = _smmu.InvalidationOf(tag);
        if (sent != number)
            return;
        if (_random.Chance(_model.SilentPerMillion))
        {
            _agenda.After(_timings.InvalidationTimeout, Activity.InvalidationTimesOut, Index, tag, number);
            return;
        }
        _atc.InvalidateRange((ulong)pasid, sizeShift >= 64 ? 0 : address & ~((1UL << sizeShift) - 1), sizeShift);
        _agenda.After(_timings.Link, Activity.InvalidationIsAnswered, Index, tag, number);
    }

    private void Reach(long number, int pasid, ulong address, bool write, ulong output)
    {
        Done++;
        Reached?.Invoke(new ReachedMemory(Index, number, pasid, address, write, output));
    }

    private int Take(int pasid, ulong address, bool write)
    {
        var slot = _free.Pop();
        _slots[slot] = new Slot { State = SlotState.Asks, Pasid = pasid, Address = address, Write = write, Group = -1, Number = Begun };
        return slot;
    }

    private void Free(int slot)
    {
        _slots[slot].State = SlotState.Free;
        _free.Push(slot);
        if (_blocked)
            (_blocked, NextIssueAt) = (false, Math.Max(_nextWhenFree, _clock.Now));
    }
}
